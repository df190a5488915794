"""GET /v1/models and /v1/models/{id}: what can be called, and at what price."""

import msgspec

from catalog.cards import model_card
from catalog.routes import in_force
from gateway.admission import authenticate
from gateway.call import Gateway
from gateway.errors import MODEL_NOT_FOUND
from gateway.exchange import Exchange
from gateway.pipeline import ready_process


async def index(exchange: Exchange, gateway: Gateway) -> None:
    process = await ready_process()
    await authenticate(exchange, process)
    snapshot, now = process.snapshot, process.database_now()
    data = [
        model_card(model, now)
        for model in snapshot.models.values()
        if not model.not_callable_because and in_force(model.prices, now) is not None
    ]
    await exchange.answer_json(200, msgspec.json.encode({"object": "list", "data": data}))


async def retrieve(exchange: Exchange, gateway: Gateway, name: str) -> None:
    process = await ready_process()
    await authenticate(exchange, process)
    model = process.snapshot.resolve(name)
    if model is None:
        raise MODEL_NOT_FOUND.error(param="model", model=name)
    body = msgspec.json.encode(model_card(model, process.database_now()))
    await exchange.answer_json(200, body)
