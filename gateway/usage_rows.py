"""Call records as rows for the settling statement: encoded once, by whoever has the time."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.call_records import AttemptRecord, CallRecord

LONGEST_TEXT = 500  # of what came from outside: names asked for, reasons, ids
_encode = msgspec.json.Encoder().encode


def fingerprint(record: CallRecord) -> int:
    """64 bits of what a settle of the same call must repeat: who pays how much, for what."""
    told = (
        f"{record.wallet_id}:{record.amount}:{record.cost_nano_usd}:{record.key_id}:{record.model}:"
        f"{record.price_version_id}:{sorted(record.usage.tokens.items())}"
    )
    return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), signed=True)


def encode_call(record: CallRecord, mark: int) -> bytes:
    """JSON of the usage row, without what the batch adds; `mark` is its fingerprint."""
    usage, charge = record.usage, record.charge
    return _to_json(
        {
            "id": record.call_id,
            "fingerprint": mark,
            "workspace_id": record.workspace_id,
            "wallet_id": record.wallet_id,
            "key_id": record.key_id,
            "mode": record.mode,
            "model": record.model,
            "requested_model": record.requested_model[:LONGEST_TEXT],
            "endpoint": record.endpoint,
            "is_stream": record.is_stream,
            "host": record.host,
            "route_id": record.route_id,
            "upstream_model": record.upstream_model,
            "protocol": record.protocol,
            "price_version_id": record.price_version_id,
            "cost_version_id": record.cost_version_id,
            "service_tier": record.service_tier[:LONGEST_TEXT],
            "admitted_at": record.admitted_at,
            "started_at": record.started_at,
            "first_byte_ms": record.first_byte_ms,
            "total_ms": record.total_ms,
            "gateway_ms": record.gateway_ms,
            "outcome": record.outcome,
            "status": record.status,
            "finish_reason": record.finish_reason[:LONGEST_TEXT],
            "request_id": record.request_id[:LONGEST_TEXT],
            "usage_outcome": usage.outcome,
            "tokens": usage.tokens,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "web_searches": usage.web_searches,
            "charge_nano_usd": record.amount,
            "paid_nano_usd": record.amount,
            "cost_nano_usd": record.cost_nano_usd,
            "components": [
                (part.name, part.quantity, part.rate_nano_usd_per_mtok, part.amount)
                for part in (charge.components if charge is not None else ())
            ],
            "unpriced": charge.unpriced if charge is not None else (),
        }
    )


def encode_attempt(record: CallRecord, attempt: AttemptRecord) -> bytes:
    return _to_json(
        {
            "call_id": record.call_id,
            "n": attempt.n,
            "route_id": attempt.route_id,
            "host": attempt.host,
            "status": attempt.status,
            "reason": attempt.reason[:LONGEST_TEXT],
            "started_at": attempt.started_at,
            "duration_ms": attempt.duration_ms,
            "cost_nano_usd": attempt.cost_nano_usd,
        }
    )


def _to_json(row: Mapping[str, Any]) -> bytes:
    """JSON that PostgreSQL takes: it knows neither NUL in texts nor half a surrogate pair."""
    try:
        text = _encode(row)
    except UnicodeEncodeError:
        text = _encode({name: _clean(value) for name, value in row.items()})
    return text.replace(b"\\u0000", b"\\ufffd") if b"\\u0000" in text else text


def _clean(value: Any) -> Any:
    return value.encode(errors="replace").decode() if type(value) is str else value
