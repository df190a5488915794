"""The go-live checklist as a page of the admin."""

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tokenmix_site.going_live import checklist, refusals


@require_safe
@login_required
def going_live(request: HttpRequest) -> HttpResponse:
    if not request.user.is_staff:
        raise PermissionDenied
    checks = checklist()
    return render(
        request, "site/going_live.html", {"checks": checks, "missing": len(refusals(checks))}
    )
