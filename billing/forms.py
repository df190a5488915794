"""The top-up form: shapes and checks what a person typed; it saves nothing."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.money import NANO_PER_CENT, InvalidAmount, NanoUsd, format_usd, parse_usd
from billing.payments.base import PaymentProvider
from billing.topups import LARGEST, SMALLEST

OTHER = "other"
GROUPED = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
AMOUNTS = ("10", "25", "50", "100")


class TopUpForm(forms.Form):
    """How much, and by which provider. The token makes a double click one top-up."""

    amount = forms.ChoiceField(
        label=_("Amount"),
        choices=[*((usd, f"${usd}") for usd in AMOUNTS), (OTHER, _("Other"))],
        initial=AMOUNTS[0],
        widget=forms.RadioSelect,
    )
    other_amount = forms.CharField(
        label=_("Other amount in USD"), required=False, max_length=20, strip=True
    )
    provider = forms.ChoiceField(label=_("Pay with"), widget=forms.RadioSelect)
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(
        self, data: Any = None, *, providers: Sequence[PaymentProvider], **kwargs: Any
    ) -> None:
        super().__init__(data, **kwargs)
        choices = [(provider.key, provider.label) for provider in providers]
        field = self.fields["provider"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices
        field.initial = choices[0][0] if choices else None
        self.fields["token"].initial = uuid4

    def clean(self) -> dict[str, Any]:
        """Turn either field into nano-USD, under "credit"."""
        values = super().clean() or {}
        typed, chosen = values.get("other_amount", ""), values.get("amount", "")
        if chosen == OTHER and not typed:
            self.add_error("other_amount", _("Enter an amount such as 20 or 12.50."))
        elif chosen and chosen != OTHER and typed:
            self.add_error("other_amount", _("Choose “Other” for this amount, or clear it."))
        elif chosen:
            self._add_credit(values, typed or chosen)
        return values

    def _add_credit(self, values: dict[str, Any], text: str) -> None:
        try:
            values["credit"] = _credit(_without_grouping(text.removeprefix("$")))
        except InvalidAmount as error:
            self.add_error("other_amount", str(error))


def _without_grouping(text: str) -> str:
    """Drop the commas of "1,250.00"; any other comma ("12,50") is refused, never guessed."""
    if "," in text and not GROUPED.fullmatch(text):
        message = f"{text!r} can be read in two ways: write it like 12.50 or 1,250.00."
        raise InvalidAmount(message)
    return text.replace(",", "")


def _credit(text: str) -> NanoUsd:
    credit = parse_usd(text)
    if not SMALLEST <= credit <= LARGEST:
        raise InvalidAmount(
            f"A top-up is between {format_usd(SMALLEST)} and {format_usd(LARGEST)}."
        )
    if credit % NANO_PER_CENT:
        raise InvalidAmount("A top-up is in whole cents.")
    return credit
