"""May this caller call, and is the money there? Key, limits, and the hold (DESIGN 4.4)."""

from dataclasses import dataclass
from datetime import datetime

from accounts.api_keys import Caller, RevokedKey
from billing.money import format_usd
from catalog.pricing import Price, worst_rates
from gateway.errors import (
    INSUFFICIENT_QUOTA,
    INVALID_KEY,
    MISSING_KEY,
    NOT_READY,
    REVOKED_KEY,
    WALLET_FROZEN,
)
from gateway.exchange import Exchange
from gateway.process import NotReady, Process, WalletState
from gateway.purse import Hold, InsufficientFunds, MoneyUnavailable, WalletFrozen
from gateway.routing import PLAIN_SERVICE_TIERS, Ask, Candidate, least

MTOK = 1_000_000
SHARE_OF_ROOM = 8  # a call that cannot be extended holds an eighth of the wallet at most
UNKNOWN_OUTPUT_LIMIT = 65_536  # tokens, where neither request nor model nor route says
EXTENSION_TOKENS = 512  # the least that a stream adds to its hold at a time
SHOWN_CHARS = 10


@dataclass(frozen=True, slots=True)
class Quote:
    """What a call may cost at most, and usually, on one candidate."""

    input_cost: int  # millionths of a nano-USD: rounded with the sum only
    output_rate: int  # nano-USD per million tokens
    most_output: int  # tokens of one choice
    usual_output: int
    choices: int

    @property
    def maximum(self) -> int:
        return self.at(self.most_output)

    @property
    def usual(self) -> int:
        return self.at(min(self.usual_output, self.most_output))

    def at(self, output_tokens: int) -> int:
        """Nano-USD when each choice has so many output tokens."""
        return up(self.input_cost + output_tokens * self.choices * self.output_rate, MTOK)

    def output_paid_by(self, amount: int) -> int:
        """How many output tokens, of all choices together, an amount pays beside the input."""
        if self.output_rate == 0:
            return self.most_output * self.choices
        return max(0, (amount * MTOK - self.input_cost) // self.output_rate)


@dataclass(slots=True)
class Held:
    """Money set aside for a call. `output_limit` None: the request's own limit is paid for."""

    hold: Hold
    quote: Quote
    output_limit: int | None

    @property
    def paid_output(self) -> int:
        """Output tokens that the hold pays for."""
        return self.quote.output_paid_by(self.hold.amount)

    async def extend(self, output_tokens: int) -> None:
        """Pay for some more output than has passed. Raises as `Purses.hold` does."""
        missing = output_tokens - self.paid_output
        more = max(EXTENSION_TOKENS, self.quote.usual_output, missing + EXTENSION_TOKENS)
        await self.hold.extend(max(1, up(more * self.quote.output_rate, MTOK)))


async def authenticate(exchange: Exchange, process: Process) -> Caller:
    """Whose call this is. Raises ApiError."""
    secret = _secret(exchange)
    if not secret:
        raise MISSING_KEY.error()
    try:
        caller = await process.authenticate(secret)
    except NotReady as error:
        raise NOT_READY.error() from error
    if caller is None:
        raise INVALID_KEY.error(shown=_shown(secret))
    if isinstance(caller, RevokedKey):
        raise REVOKED_KEY.error()
    return caller


async def open_wallet(caller: Caller, process: Process) -> WalletState:
    """The wallet that pays. Raises ApiError when it is frozen, or nothing can be sold now."""
    if not process.is_admitting:
        raise NOT_READY.error()
    try:
        wallet = await process.wallet(caller.workspace_id)
    except NotReady as error:
        raise NOT_READY.error() from error
    if wallet.is_frozen:
        raise WALLET_FROZEN.error()
    return wallet


async def set_aside(
    ask: Ask,
    candidates: tuple[Candidate, ...],
    *,
    input_tokens: int,
    at: datetime,
    wallet_id: int,
    process: Process,
) -> Held:
    """Hold enough for the dearest candidate. Raises ApiError: 402, 403 or 503."""
    quote = max(
        (quote_for(ask, candidate, input_tokens=input_tokens, at=at) for candidate in candidates),
        key=lambda quote: quote.maximum,
    )
    room = process.money.room(wallet_id)
    can_extend = ask.is_stream and all(has_visible_output(c) for c in candidates)
    amount, limit = amount_to_hold(quote, room=room, can_extend=can_extend)
    try:
        hold = await process.money.hold(wallet_id=wallet_id, amount=amount)
    except InsufficientFunds as error:
        raise INSUFFICIENT_QUOTA.error(
            available=format_usd(error.available), needed=format_usd(amount)
        ) from error
    except WalletFrozen as error:
        raise WALLET_FROZEN.error() from error
    except MoneyUnavailable as error:
        raise NOT_READY.error(headers={"retry-after": str(error.retry_after_s)}) from error
    return Held(hold, quote, limit)


def amount_to_hold(quote: Quote, *, room: int, can_extend: bool) -> tuple[int, int | None]:
    """How much to hold, and the output limit (per choice) that it pays for where one is needed.

    A stream that can be counted is held at its usual cost and extended as it passes. Any other
    call is held at min(maximum, max(usual, an eighth of what the wallet has)).
    """
    if can_extend:
        return max(1, min(quote.maximum, quote.usual)), None
    amount = max(1, min(quote.maximum, max(quote.usual, room // SHARE_OF_ROOM)))
    if amount >= quote.maximum:
        return amount, None
    return amount, max(1, quote.output_paid_by(amount) // quote.choices)


def quote_for(ask: Ask, candidate: Candidate, *, input_tokens: int, at: datetime) -> Quote:
    rates = worst_rates(price=candidate.price, input_tokens=input_tokens, at=at)
    up_by, down_by = _service_tier(candidate.price, ask)
    most = least(ask.output_limit, candidate.output_limit) or UNKNOWN_OUTPUT_LIMIT
    return Quote(
        input_cost=up(input_tokens * rates.input_nano_usd_per_mtok * up_by, down_by),
        output_rate=up(rates.output_nano_usd_per_mtok * up_by, down_by),
        most_output=most,
        usual_output=candidate.model.usual_output_tokens,
        choices=ask.choices,
    )


def has_visible_output(candidate: Candidate) -> bool:
    """Can all that is charged be counted as it passes? Hidden reasoning cannot."""
    is_hidden = bool(candidate.route.quirks.get("reasoning_hidden"))
    thinks = "reasoning" in candidate.model.features
    return not thinks or (candidate.route.protocol != "openai_chat" and not is_hidden)


def _service_tier(price: Price, ask: Ask) -> tuple[int, int]:
    if ask.service_tier in PLAIN_SERVICE_TIERS:
        return 1, 1
    return price.service_tiers.get(ask.service_tier, (1, 1))


def up(dividend: int, divisor: int) -> int:
    """Division rounded up."""
    return -(-dividend // divisor)


def _secret(exchange: Exchange) -> str:
    """`x-api-key` (preferred when both come, as Anthropic does) or `Authorization: Bearer`."""
    key = exchange.header(b"x-api-key").strip()
    if key:
        return key
    scheme, _, value = exchange.header(b"authorization").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _shown(secret: str) -> str:
    """Enough to recognise a key by, too little to use it."""
    return f"{secret[:SHOWN_CHARS]}…" if len(secret) > SHOWN_CHARS else "…"
