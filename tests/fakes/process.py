"""A gateway process in memory: keys, wallets, money and a settler that keeps what it is told."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from accounts.api_keys import Caller, RevokedKey, _checksum
from catalog.routes import Snapshot
from gateway.call_records import CallRecord, Settled
from gateway.process import WalletState
from gateway.purse import InsufficientFunds
from gateway.settlement import SettlementFailed


def fake_secret(letter: str = "a") -> str:
    body = letter * 43
    return f"sk-tm-{body}{_checksum(body)}"


class FakeHold:
    def __init__(self, purses: "FakePurses", amount: int) -> None:
        self.purses = purses
        self.amount = amount
        self.is_open = True

    async def extend(self, amount: int) -> None:
        self.purses.take(amount)
        self.amount += amount
        self.purses.extensions.append(amount)

    def release(self) -> None:
        if self.is_open:
            self.is_open = False
            self.purses.money += self.amount


@dataclass
class FakePurses:
    money: int
    holds: list[FakeHold] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)
    error: Exception | None = None

    def take(self, amount: int) -> None:
        if self.error is not None:
            raise self.error
        if amount > self.money:
            raise InsufficientFunds(self.money)
        self.money -= amount

    def room(self, wallet_id: int) -> int:
        return self.money

    async def hold(self, *, wallet_id: int, amount: int) -> FakeHold:
        self.take(amount)
        hold = FakeHold(self, amount)
        self.holds.append(hold)
        return hold


@dataclass
class FakeSettler:
    purses: FakePurses
    records: list[CallRecord] = field(default_factory=list)
    is_down: bool = False

    async def settle(self, record: CallRecord) -> Settled:
        self.records.append(record)
        hold = record.hold
        if hold is not None:
            assert hold.is_open, "A hold ends once."
            hold.release()
        if self.is_down:
            raise SettlementFailed
        self.purses.money -= record.amount
        return Settled(record.amount)


class FakeProcess:
    epoch = 1
    is_admitting = True

    def __init__(self, snapshot: Snapshot, *, money: int) -> None:
        self.snapshot = snapshot
        self.money = FakePurses(money)
        self.settler = FakeSettler(self.money)
        self.is_frozen = False
        self.callers: dict[str, Caller | RevokedKey] = {
            fake_secret(): Caller(key_id=1, workspace_id=2, key_name="Test", user_id=3),
            fake_secret("r"): RevokedKey(key_id=4),
        }

    def database_now(self) -> datetime:
        return datetime(2026, 6, 1, tzinfo=UTC)

    async def authenticate(self, secret: str) -> Caller | RevokedKey | None:
        return self.callers.get(secret)

    async def wallet(self, workspace_id: int) -> WalletState:
        return WalletState(5, self.is_frozen)
