"""The pages of a workspace's API keys."""

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts import api_keys
from accounts.forms import NewKeyForm
from accounts.workspaces import WorkspaceRequest, workspace_required


@require_GET
@workspace_required
def keys(request: WorkspaceRequest) -> HttpResponse:
    context = {
        "keys": api_keys.list_keys(workspace_id=request.workspace.id),
        "may_manage": request.workspace.may_manage_keys,
    }
    return render(request, "accounts/keys.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@workspace_required
def new_key(request: WorkspaceRequest) -> HttpResponse:
    """The answer to the POST shows the secret: it is nowhere to be read again."""
    _require_key_maker(request)
    form = NewKeyForm(request.POST or None)
    if not form.is_valid():
        return render(request, "accounts/key_new.html", {"form": form})
    try:
        key = api_keys.create_key(
            workspace_id=request.workspace.id,
            user_id=request.user.pk,
            name=form.cleaned_data["name"],
        )
    except api_keys.TooManyKeysError:
        form.add_error(None, _too_many_keys())
        return render(request, "accounts/key_new.html", {"form": form})
    return render(request, "accounts/key_created.html", {"key": key, "api_url": _api_url()})


@require_http_methods(["GET", "POST"])
@workspace_required
def revoke(request: WorkspaceRequest, key_id: int) -> HttpResponse:
    """GET asks, POST does it."""
    _require_key_maker(request)
    try:
        key = api_keys.get_key(workspace_id=request.workspace.id, key_id=key_id)
    except api_keys.KeyNotFoundError as error:
        raise Http404 from error
    if request.method == "GET":
        return render(request, "accounts/key_revoke.html", {"key": key})
    api_keys.revoke_key(workspace_id=request.workspace.id, key_id=key_id)
    messages.success(
        request, _("“%(name)s” is revoked; calls with it are refused.") % {"name": key.name}
    )
    return redirect("keys")


def _require_key_maker(request: WorkspaceRequest) -> None:
    if not request.workspace.may_manage_keys:
        raise PermissionDenied(_("Your role in this workspace may not make or revoke keys."))


def _too_many_keys() -> str:
    return _("A workspace may have %(limit)s live keys. Revoke one that is no longer used.") % {
        "limit": api_keys.MAX_LIVE_KEYS
    }


def _api_url() -> str:
    return f"{settings.BASE_URL}/v1"
