"""The chart of accounts."""

import pytest

from billing.chart import HOUSE_KINDS, WALLET_KINDS, AccountKind, HouseAccount, clearing


class TestHouseAccount:
    @pytest.mark.parametrize("kind", WALLET_KINDS)
    def test_is_never_a_wallets(self, kind: AccountKind) -> None:
        with pytest.raises(ValueError, match="an account of a wallet"):
            HouseAccount(kind)

    def test_names_a_providers_clearing_account(self) -> None:
        assert clearing(provider="stripe") == HouseAccount(AccountKind.CLEARING, "stripe")

    def test_every_kind_is_a_wallets_or_the_houses(self) -> None:
        assert {*WALLET_KINDS, *HOUSE_KINDS} == set(AccountKind)
