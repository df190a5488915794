"""Records of calls for tests of the money runtime."""

from datetime import UTC, datetime

from billing.money import NanoUsd
from catalog.pricing import Bucket, Charge, Component, Usage
from gateway.call_ids import new_call_id
from gateway.call_records import AttemptRecord, CallOutcome, CallRecord

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def make_charge(amount):
    return Charge(
        amount=NanoUsd(amount),
        components=(Component("input", 10, amount * 100_000, NanoUsd(amount)),),
    )


def make_record(wallet, *, charge=0, **changes):
    values = {
        "call_id": new_call_id(),
        "epoch": 0,
        "workspace_id": wallet.workspace_id,
        "wallet_id": wallet.id,
        "key_id": 1,
        "mode": wallet.mode,
        "model": "gpt-5.4",
        "requested_model": "gpt-5.4",
        "endpoint": "chat.completions",
        "is_stream": False,
        "admitted_at": NOON,
        "started_at": NOON,
        "total_ms": 12,
        "outcome": CallOutcome.COMPLETE,
        "status": 200,
        "usage": Usage({Bucket.INPUT: 10, Bucket.OUTPUT: 5}),
        "charge": make_charge(charge) if charge else None,
        "host": "sandbox-openai",
        "attempts": (AttemptRecord(1, 3, "sandbox-openai", 200, "", NOON, 12),),
    }
    return CallRecord(**(values | changes))
