"""What every page's frame shows: the mode, the addresses, the workspace and its balance."""

from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.workspaces import WorkspaceView, current_workspace
from billing.queries import WalletView, wallet_of
from tokenmix_site.dev_mail import has_dev_mail


class Site:
    """Read by templates as `tokenmix`; what needs the database is read when it is shown."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def mode(self) -> str:
        return settings.TOKENMIX_MODE

    @property
    def is_sandbox(self) -> bool:
        return settings.TOKENMIX_MODE == "sandbox"

    @property
    def base_url(self) -> str:
        return settings.BASE_URL

    @property
    def api_url(self) -> str:
        """What an SDK calls `base_url`."""
        return f"{settings.BASE_URL}/v1"

    @property
    def has_dev_mail(self) -> bool:
        return has_dev_mail()

    @cached_property
    def workspace(self) -> WorkspaceView | None:
        if not self._request.user.is_authenticated:
            return None
        return current_workspace(self._request)

    @cached_property
    def wallet(self) -> WalletView | None:
        return wallet_of(workspace_id=self.workspace.id) if self.workspace else None


def site(request: HttpRequest) -> dict[str, Any]:
    return {"tokenmix": Site(request)}
