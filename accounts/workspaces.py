"""Workspaces: which one a person works in, and a guard for views that need it.

Everyone has one workspace for now; joining others comes with invitations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase

from accounts.models import Membership, Role, User, Workspace

P = ParamSpec("P")
R = TypeVar("R", bound=HttpRequest)

KEY_MAKERS = frozenset({Role.OWNER, Role.ADMIN, Role.DEVELOPER})
PAYERS = frozenset({Role.OWNER, Role.ADMIN, Role.BILLING})


class NoWorkspaceError(Exception):
    """The user is no member of any workspace."""


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """The workspace a person works in, and as what."""

    id: int
    name: str
    role: str

    @property
    def may_manage_keys(self) -> bool:
        return self.role in KEY_MAKERS

    @property
    def may_pay(self) -> bool:
        return self.role in PAYERS


def workspace_of(*, user_id: int) -> WorkspaceView:
    """The workspace that the user joined first. Raises NoWorkspaceError."""
    membership = (
        Membership.objects.filter(user_id=user_id)
        .select_related("workspace")
        .order_by("created_at", "id")
        .first()
    )
    if membership is None:
        message = f"User {user_id} is no member of any workspace."
        raise NoWorkspaceError(message)
    return _view(membership)


def create_workspace_for(*, user: User) -> WorkspaceView:
    """The user's own workspace, made if there is none yet; twice at once makes one."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        try:
            return workspace_of(user_id=user.pk)
        except NoWorkspaceError:
            workspace = Workspace.objects.create(name=user.get_short_name()[:100])
            membership = Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return _view(membership)


class WorkspaceRequest(HttpRequest):
    """A request of a signed-in person, inside their workspace."""

    user: User
    workspace: WorkspaceView


def workspace_required(
    view: Callable[Concatenate[R, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Let only signed-in people in, and set `request.workspace`.

    People made by a command have no workspace before their first visit; they get one here.
    """

    @wraps(view)
    def inside(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        current_workspace(request)
        return view(cast("R", request), *args, **kwargs)

    return cast(
        "Callable[Concatenate[HttpRequest, P], HttpResponseBase]",
        login_required(inside),
    )


def current_workspace(request: HttpRequest) -> WorkspaceView:
    """The workspace of the request's signed-in user, looked up once and kept on the request."""
    known: WorkspaceView | None = getattr(request, "workspace", None)
    if known is not None:
        return known
    user = cast("User", request.user)
    try:
        workspace = workspace_of(user_id=user.pk)
    except NoWorkspaceError:
        workspace = create_workspace_for(user=user)
    request.workspace = workspace  # type: ignore[attr-defined]  # kept for this request
    return workspace


def _view(membership: Membership) -> WorkspaceView:
    workspace = membership.workspace
    return WorkspaceView(id=workspace.pk, name=workspace.name, role=membership.role)
