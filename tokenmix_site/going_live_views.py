"""The go-live checklist as a page of the admin."""

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tokenmix_site.going_live import checklist, refusals


@require_safe
@staff_member_required(login_url="account_login")  # type: ignore[untyped-decorator]  # by its stubs
def going_live(request: HttpRequest) -> HttpResponse:
    checks = checklist()
    return render(
        request, "site/going_live.html", {"checks": checks, "missing": len(refusals(checks))}
    )
