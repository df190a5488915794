"""How pages write numbers of tokens, prices that may be absent, and the catalog's own words."""

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.money import format_usd

register = template.Library()

ABSENT = "–"  # noqa: RUF001  (a dash stands for "none" in a table)
CATEGORIES = {
    "chat": gettext_lazy("Chat"),
    "image": gettext_lazy("Image"),
    "video": gettext_lazy("Video"),
    "audio": gettext_lazy("Audio"),
    "embedding": gettext_lazy("Embedding"),
}


@register.filter
def price(amount: int | None) -> str:
    """Nano-USD as a person reads it, or a dash where there is no such price."""
    return ABSENT if amount is None else format_usd(amount)


@register.filter
def tokens(count: int | None) -> str:
    """A number of tokens with thousands apart, or a dash."""
    return ABSENT if count is None else f"{count:,}"


@register.filter
def category_name(value: str) -> str:
    return str(CATEGORIES.get(value, value))


@register.filter
def feature_name(value: str) -> str:
    """`structured_output` as words."""
    return _(value.replace("_", " "))
