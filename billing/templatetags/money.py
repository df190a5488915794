"""The one way in which pages show money."""

from django import template

from billing.money import NanoUsd, format_usd

register = template.Library()


@register.filter
def usd(amount: NanoUsd | int) -> str:
    """`{{ wallet.balance|usd }}`: nano-USD as a person reads it, such as $12.50."""
    return format_usd(amount)
