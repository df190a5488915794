"""The hosted pay page of the stand-in Stripe: plain HTML that says that no real money moves."""

from html import escape
from typing import Any

from tokenmix_site.sandbox.stripe_http import Answer

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f6f8fb;
  color: #1d2433; }
main { background: #fff; border: 1px solid #dde3ec; border-radius: 8px; padding: 2rem;
  width: min(24rem, 90vw); }
.note { background: #fff4d6; border-radius: 6px; padding: .5rem .75rem; margin: 0 0 1.5rem; }
.error { background: #fde3e3; border-radius: 6px; padding: .5rem .75rem; }
.amount { font-size: 2.25rem; font-weight: 600; margin: .25rem 0 1.5rem; }
button, a.button { display: block; width: 100%; box-sizing: border-box; padding: .7rem;
  margin-top: .6rem; border: 1px solid #c5cedb; border-radius: 6px; background: #fff;
  color: #1d2433; font: inherit; text-align: center; text-decoration: none; cursor: pointer; }
button.main { background: #1f5fd6; border-color: #1f5fd6; color: #fff; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  body { background: #12161f; color: #e6eaf2; }
  main, button, a.button { background: #1b2130; border-color: #323b4d; color: #e6eaf2; }
  .note, .error { color: #1d2433; }
}
"""
DECLINED = "Your card was declined. Nothing was charged. Try again or choose another way to pay."


def pay_page(session: dict[str, Any], *, action: str, error: str = "") -> Answer:
    """Show an open session with its buttons, or what became of a closed one."""
    if session["status"] != "open":
        return _closed_page(session)
    amount = money(session["amount_total"], session["currency"])
    warning = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    buttons = "".join(
        f'<button name="action" value="{value}" class="{kind}">{escape(label)}</button>'
        for value, kind, label in (
            ("pay", "main", f"Pay {amount}"),
            ("pay_later", "", "Pay with a slow method"),
            ("decline", "", "Decline"),
            ("cancel", "", "Cancel"),
        )
    )
    return _page(
        title="Test payment",
        body=f'{warning}<p>TokenMix credit</p><p class="amount">{escape(amount)}</p>'
        f'<form method="post" action="{escape(action)}">{buttons}</form>',
    )


def not_found_page() -> Answer:
    """Say that there is no such payment: the stand-in forgets everything when it restarts."""
    body = "<p>There is no such payment here. The sandbox forgets its payments at a restart.</p>"
    return _page(title="No such payment", body=body, status=404)


def money(amount_minor: int, currency: str) -> str:
    """Write an amount of two-decimal currency."""
    return f"{amount_minor // 100:,}.{amount_minor % 100:02d} {currency.upper()}"


def _closed_page(session: dict[str, Any]) -> Answer:
    url = str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])
    what = "complete" if session["status"] == "complete" else "expired"
    back = f'<a class="button" href="{escape(url)}">Back to the shop</a>'
    return _page(title="Test payment", body=f"<p>This payment is {what}.</p>{back}")


def _page(*, title: str, body: str, status: int = 200) -> Answer:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><main>"
        f'<p class="note"><strong>Test payment, no real money.</strong> '
        f"This page stands in for Stripe.</p>{body}</main></body></html>"
    )
    return Answer(status=status, body=html.encode(), content_type="text/html; charset=utf-8")
