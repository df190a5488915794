"""Usage pages: one line per call, and what each call's cost is made of."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.http import Http404, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.api_keys import list_keys
from accounts.workspaces import WorkspaceRequest, workspace_required
from billing.money import NanoUsd, to_usd
from catalog.pricing import Component
from gateway.call_records import CallOutcome
from gateway.queries import CallView, call_of, calls_of

ROWS = 50

OUTCOMES = {
    CallOutcome.COMPLETE: (_("complete"), "green"),
    CallOutcome.CLIENT_LEFT_DRAINED: (_("client left"), "yellow"),
    CallOutcome.CLIENT_LEFT_CUT: (_("client left, cut"), "yellow"),
    CallOutcome.UPSTREAM_BROKE: (_("provider broke off"), "orange"),
    CallOutcome.REFUSED: (_("refused"), "secondary"),
    CallOutcome.FAILED: (_("failed"), "red"),
    CallOutcome.OUT_OF_CREDIT: (_("out of credit"), "orange"),
}
EXPLANATIONS = {
    CallOutcome.COMPLETE: _(
        "The answer was whole. You pay for the usage that the provider reports."
    ),
    CallOutcome.CLIENT_LEFT_DRAINED: _(
        "Your program hung up. The provider bills such calls in full, so its usage is charged."
    ),
    CallOutcome.CLIENT_LEFT_CUT: _(
        "Your program hung up and the provider was stopped. You pay for what was delivered."
    ),
    CallOutcome.UPSTREAM_BROKE: _(
        "The provider ended the answer too early. You pay for what was delivered."
    ),
    CallOutcome.REFUSED: _("The call was refused before any provider was asked. It is free."),
    CallOutcome.FAILED: _("No provider answered. The call is free."),
    CallOutcome.OUT_OF_CREDIT: _(
        "The wallet ran out while the answer was written. You pay for what was delivered."
    ),
}


@dataclass(frozen=True, slots=True)
class ComponentLine:
    """One line of a charge: quantity x rate = amount."""

    name: str
    quantity: int
    rate_usd_per_mtok: Decimal
    amount: NanoUsd


@require_GET
@never_cache
@workspace_required
def usage(request: WorkspaceRequest) -> HttpResponseBase:
    """The workspace's calls, newest first; `before` is the last id of the page before."""
    workspace_id = request.workspace.id
    found = calls_of(workspace_id=workspace_id, before=_before(request), limit=ROWS + 1)
    calls = found[:ROWS]
    keys = _key_names(workspace_id)
    return render(
        request,
        "gateway/usage.html",
        {
            "rows": [_row(call, keys) for call in calls],
            "next": calls[-1].id if len(found) > ROWS else None,
            "is_first_page": "before" not in request.GET,
        },
    )


@require_GET
@never_cache
@workspace_required
def call(request: WorkspaceRequest, call_id: UUID) -> HttpResponseBase:
    """What one call's cost is made of, and who was tried. A foreign call does not exist."""
    workspace_id = request.workspace.id
    found = call_of(workspace_id=workspace_id, call_id=call_id)
    if found is None:
        raise Http404
    return render(
        request,
        "gateway/call.html",
        {
            **_row(found, _key_names(workspace_id)),
            "explanation": EXPLANATIONS.get(CallOutcome(found.outcome), ""),
            "lines": [_line(component) for component in found.components],
            "written_off": found.charge - found.paid,
        },
    )


def _before(request: WorkspaceRequest) -> UUID | None:
    """Raises Http404 for what is no id."""
    text = request.GET.get("before")
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError as error:
        raise Http404 from error


def _row(call: CallView, keys: dict[int, str]) -> dict[str, object]:
    outcome = CallOutcome(call.outcome)
    name, color = OUTCOMES[outcome]
    return {
        "call": call,
        "key_name": keys.get(call.key_id, "") if call.key_id is not None else "",
        "outcome": name,
        "outcome_color": color,
        "is_estimated": call.usage_outcome == "estimated",
    }


def _line(component: Component) -> ComponentLine:
    return ComponentLine(
        name=component.name.replace("_", " "),
        quantity=component.quantity,
        rate_usd_per_mtok=to_usd(component.rate_nano_usd_per_mtok).normalize(),
        amount=component.amount,
    )


def _key_names(workspace_id: int) -> dict[int, str]:
    return {key.id: key.name for key in list_keys(workspace_id=workspace_id)}
