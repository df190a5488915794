"""The one exception from the strict Content-Security-Policy: the admin's pages."""

from collections.abc import Callable

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

ADMIN_POLICY = {
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}


def admin_policy(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Let django-unfold's Alpine evaluate and its widgets carry styles, under /admin/ only.

    The weaker policy is why no admin page may render a customer's text unescaped, and why the
    admin has no login form of its own (accounts.staff). Stands after CSPMiddleware, which reads
    what is set here (as django-csp's own decorators set it).
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.path.startswith(reverse("admin:index")):
            response._csp_replace = ADMIN_POLICY  # type: ignore[attr-defined]  # noqa: SLF001
        return response

    return middleware
