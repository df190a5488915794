"""Proves the ledger: what wallets say must be what transfers and grants add up to.

It reads everything in one statement, so in one snapshot, and may run beside live traffic. It never
repairs: a difference is for a person to understand first.
"""

from dataclasses import dataclass

from django.db import connection

from billing.money import format_usd

DIFFERENCES = """
    WITH moved AS (
        SELECT t.credit_id AS account_id, t.amount FROM billing_transfer t
        UNION ALL
        SELECT t.debit_id, -t.amount FROM billing_transfer t
    ), balances AS (
        SELECT a.wallet_id,
            coalesce(sum(m.amount) FILTER (WHERE a.kind = 'CASH'), 0) AS cash,
            coalesce(sum(m.amount) FILTER (WHERE a.kind = 'PROMO'), 0) AS promo
        FROM billing_account a JOIN moved m ON m.account_id = a.id
        WHERE a.wallet_id IS NOT NULL GROUP BY a.wallet_id
    ), held AS (
        SELECT g.wallet_id, sum(g.amount) AS granted FROM billing_grant g
        WHERE g.closed_at IS NULL GROUP BY g.wallet_id
    ), wallets AS (
        SELECT w.id, w.cash, w.promo, w.granted, coalesce(b.cash, 0) AS cash_sum,
            coalesce(b.promo, 0) AS promo_sum, coalesce(h.granted, 0) AS granted_sum
        FROM billing_wallet w
        LEFT JOIN balances b ON b.wallet_id = w.id LEFT JOIN held h ON h.wallet_id = w.id
    )
    SELECT id, 'cash', cash, cash_sum FROM wallets WHERE cash <> cash_sum
    UNION ALL
    SELECT id, 'promo', promo, promo_sum FROM wallets WHERE promo <> promo_sum
    UNION ALL
    SELECT id, 'granted', granted, granted_sum FROM wallets WHERE granted <> granted_sum
    UNION ALL
    SELECT id, 'granted above balance', granted, cash + promo FROM wallets
    WHERE granted > cash + promo
    UNION ALL
    SELECT id, 'below zero', least(cash, promo, granted), 0 FROM wallets
    WHERE least(cash, promo, granted) < 0
    UNION ALL
    SELECT NULL, 'transfer ' || t.reference || ' without its accounts', t.amount, 0
    FROM billing_transfer t
    LEFT JOIN billing_account d ON d.id = t.debit_id
    LEFT JOIN billing_account c ON c.id = t.credit_id AND c.mode = d.mode
    WHERE c.id IS NULL OR t.debit_id = t.credit_id OR t.amount <= 0
    ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that is not what it should be, in nano-USD. No wallet: a broken transfer."""

    wallet_id: int | None
    what: str
    stored: int
    computed: int

    def __str__(self) -> str:
        whose = "ledger" if self.wallet_id is None else f"wallet {self.wallet_id}"
        stored, computed = format_usd(self.stored), format_usd(self.computed)
        return f"{whose}: {self.what}: is {stored}, should be {computed}"


def verify_ledger() -> list[Difference]:
    """Every difference; an empty list when the ledger is sound."""
    with connection.cursor() as cursor:
        cursor.execute(DIFFERENCES)
        return [
            Difference(wallet_id, what, int(stored), int(computed))
            for wallet_id, what, stored, computed in cursor.fetchall()
        ]
