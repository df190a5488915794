"""Home, dashboard, health, and the mails of a development machine."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from accounts.api_keys import list_keys
from accounts.workspaces import WorkspaceRequest, workspace_required
from billing.queries import wallet_of
from catalog.queries import counts
from gateway.queries import calls_of, spend_of
from tokenmix_site.dev_mail import has_dev_mail, newest_mails
from tokenmix_site.readiness import check_readiness

LATEST_CALLS = 6
DEV_MAILS = 20
SNIPPET_MODEL = "gpt-5.4"


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What a newcomer has done of: put money in, make a key, call."""

    is_funded: bool
    has_key: bool
    has_called: bool

    @property
    def is_done(self) -> bool:
        return self.is_funded and self.has_key and self.has_called


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "site/home.html", {"facts": counts(), **_snippet()})


@require_GET
@workspace_required
def dashboard(request: WorkspaceRequest) -> HttpResponse:
    workspace_id = request.workspace.id
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    wallet = wallet_of(workspace_id=workspace_id)
    calls = calls_of(workspace_id=workspace_id, limit=LATEST_CALLS)
    keys = [key for key in list_keys(workspace_id=workspace_id) if key.is_live]
    context = {
        "wallet": wallet,
        "today": spend_of(workspace_id=workspace_id, since=midnight),
        "calls": calls,
        "live_keys": len(keys),
        "steps": NextSteps(
            is_funded=wallet.balance > 0 or bool(calls),
            has_key=bool(keys),
            has_called=bool(calls),
        ),
        **_snippet(),
    }
    return render(request, "site/dashboard.html", context)


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """For load balancers: 200 when this process can serve, else 503 and the reasons."""
    readiness = check_readiness()
    return JsonResponse(
        {"ready": readiness.is_ready, **readiness.parts},
        status=200 if readiness.is_ready else 503,
    )


@never_cache
@require_GET
def dev_mail(request: HttpRequest) -> HttpResponse:
    if not has_dev_mail():
        raise Http404
    return render(request, "site/dev_mail.html", {"mails": newest_mails(limit=DEV_MAILS)})


def _snippet() -> dict[str, Any]:
    return {"api_url": f"{settings.BASE_URL}/v1", "snippet_model": SNIPPET_MODEL}
