"""The wallet's pages: balance and history, starting a top-up, and what became of it."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.workspaces import WorkspaceRequest, workspace_required
from billing import queries, tasks, topups
from billing.forms import TopUpForm
from billing.movements import latest_movements
from billing.payments.base import ProviderRefused, ProviderUnavailable
from billing.payments.registry import NoSuchProvider, ready_providers
from billing.topup_queries import NoSuchTopUp, TopUpView, get_top_up, list_top_ups
from billing.topup_states import NotThisPayment

ROWS = 20


@require_GET
@never_cache
@workspace_required
def wallet(request: WorkspaceRequest) -> HttpResponseBase:
    """Balance, the top-up form, recent top-ups and movements."""
    return _wallet_page(request, TopUpForm(providers=ready_providers()))


@require_POST
@workspace_required
def start_top_up(request: WorkspaceRequest) -> HttpResponseBase:
    """Record the top-up and send the customer to the provider's page."""
    _require_payer(request)
    form = TopUpForm(request.POST, providers=ready_providers())
    if not form.is_valid():
        return _wallet_page(request, form, status=422)
    try:
        started = topups.start(purchase=_purchase(request, form), now=timezone.now())
    except topups.FormUsedAlready as error:
        messages.warning(request, str(error))
        return redirect("wallet")  # which has a fresh form
    except (topups.CouldNotStart, topups.InvalidTopUp) as error:
        form.add_error(None, str(error))
        return _wallet_page(request, form, status=422)
    if started.pay_url:
        return redirect(started.pay_url)
    return redirect("top_up", public_id=started.public_id)


@require_GET
@never_cache
@workspace_required
def top_up(request: WorkspaceRequest, public_id: UUID) -> HttpResponseBase:
    """Say what is happening to a top-up. Coming here never credits: it may ask the provider."""
    view = _get(request, public_id)
    if view.is_open and topups.may_ask_now(topup_id=view.id, now=timezone.now()):
        tasks.enqueue(tasks.check_top_up, view.id)
    template = "billing/_top_up_state.html" if _is_poll(request) else "billing/top_up.html"
    return render(request, template, {"top_up": view, "has_left": "left" in request.GET})


@require_POST
@workspace_required
def cancel_top_up(request: WorkspaceRequest, public_id: UUID) -> HttpResponseBase:
    """Close the pay page of a top-up that the customer gave up."""
    _require_payer(request)
    _get(request, public_id)
    try:
        topups.cancel(workspace_id=request.workspace.id, public_id=public_id, now=timezone.now())
    except (ProviderUnavailable, ProviderRefused, NoSuchProvider, NotThisPayment):
        messages.warning(
            request, _("The payment service did not answer. The top-up ends by itself.")
        )
    return redirect("top_up", public_id=public_id)


def _require_payer(request: WorkspaceRequest) -> None:
    if not request.workspace.may_pay:
        raise PermissionDenied(_("Your role in this workspace does not pay."))


def _is_poll(request: WorkspaceRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _purchase(request: WorkspaceRequest, form: TopUpForm) -> topups.Purchase:
    return topups.Purchase(
        workspace_id=request.workspace.id,
        user_id=request.user.pk,
        provider=form.cleaned_data["provider"],
        credit=form.cleaned_data["credit"],
        idempotency_key=str(form.cleaned_data["token"]),
    )


def _get(request: WorkspaceRequest, public_id: UUID) -> TopUpView:
    try:
        return get_top_up(workspace_id=request.workspace.id, public_id=public_id)
    except NoSuchTopUp as error:
        raise Http404 from error


def _wallet_page(request: WorkspaceRequest, form: TopUpForm, *, status: int = 200) -> HttpResponse:
    providers = ready_providers()
    own_wallet = queries.wallet_of(workspace_id=request.workspace.id)
    context = {
        "wallet": own_wallet,
        "may_pay": request.workspace.may_pay,
        "form": form,
        "providers": providers,
        "top_ups": list_top_ups(workspace_id=request.workspace.id, limit=ROWS),
        "lines": latest_movements(wallet_id=own_wallet.id, limit=ROWS),
    }
    response = render(request, "billing/wallet.html", context, status=status)
    # Browsers hold the redirect after a form to the page's form-action, too.
    origins = [origin for provider in providers for origin in provider.pay_origins()]
    response._csp_update = {"form-action": origins}  # type: ignore[attr-defined]  # noqa: SLF001  (how django-csp's decorators pass it)
    return response
