"""What allauth asks us: who a new user is, and where a browser may be sent."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.models import User
from accounts.workspaces import create_workspace_for


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    def save_user(
        self, request: HttpRequest, user: User, form: Any, commit: bool = True  # noqa: FBT001, FBT002
    ) -> User:  # fmt: skip
        """A new user comes with a workspace; SignUpForm.save makes both in one transaction."""
        super().save_user(request, user, form, commit=commit)
        if commit:
            create_workspace_for(user=user)
        return user

    def is_safe_url(self, url: str) -> bool:
        """Only our own pages: allauth would also trust every host of ALLOWED_HOSTS."""
        host = self.request.get_host() if self.request else None
        return url_has_allowed_host_and_scheme(
            url,
            allowed_hosts={host} if host else set(),
            require_https=bool(self.request and self.request.is_secure()),
        )
