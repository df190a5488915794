"""Notices of payment providers: verify, store, queue, answer. Never more."""

import logging

from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing import inbox, tasks
from billing.payments.base import Forged
from billing.payments.registry import NoSuchProvider, get_provider

logger = logging.getLogger(__name__)

LARGEST_BODY_BYTES = 1_048_576


@csrf_exempt
@require_POST
def receive(request: HttpRequest, provider: str) -> HttpResponse:
    """Take in one notice: 400 when it is not genuine, 404 for a provider that is not set up."""
    try:
        payments = get_provider(key=provider)
    except NoSuchProvider as error:
        raise Http404 from error
    raw = _body_of(request)
    if raw is None:
        return HttpResponse("The notice is too large.", status=413, content_type="text/plain")
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        event = payments.verify(raw, headers)
    except Forged as error:
        logger.warning("payments.notice.refused", extra={"provider": provider, "why": str(error)})
        return HttpResponse("The notice was refused.", status=400, content_type="text/plain")
    with transaction.atomic(durable=True):
        to_handle = inbox.store(
            provider=provider, event=event, raw=raw, headers=headers, now=timezone.now()
        )
        if to_handle is not None:
            transaction.on_commit(lambda: tasks.enqueue(tasks.handle_notice, to_handle))
    ack = payments.ack()
    return HttpResponse(ack.body, content_type=ack.content_type)


def _body_of(request: HttpRequest) -> bytes | None:
    """Read the raw body; None when it is larger than any notice. A lost client leaves b""."""
    try:
        raw = request.body
    except RequestDataTooBig:
        return None
    except UnreadablePostError:
        return b""
    return raw if len(raw) <= LARGEST_BODY_BYTES else None
