"""The door to the admin: our own strict sign-in page, and nobody but staff behind it."""

from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache


@never_cache
def admin_login(request: HttpRequest) -> HttpResponseRedirect:
    """Stands in for Django's admin login, whose page would need the admin's weaker CSP.

    Staff who are signed in go on to the admin; others get 403. The second factor that staff must
    have will be asked for here and in `may_use_admin`.
    """
    target = _target(request)
    if not request.user.is_authenticated:
        query = urlencode({REDIRECT_FIELD_NAME: target})
        return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
    if not may_use_admin(request):
        raise PermissionDenied
    return HttpResponseRedirect(target)


def may_use_admin(request: HttpRequest) -> bool:
    user = request.user
    return user.is_authenticated and user.is_active and user.is_staff


def _target(request: HttpRequest) -> str:
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    is_login = wanted.startswith(reverse("admin:login"))
    return wanted if is_ours and not is_login else reverse("admin:index")
