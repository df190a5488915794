"""Forms of the catalog's admin: a credential, and a change of prices figure by figure."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from billing.money import InvalidAmount, NanoUsd, parse_usd, usd_literal
from catalog.editing import PriceChange
from catalog.price_words import TOKEN_NAMES, PriceLine

FIRST_PRICE = ("input", "cached_input", "output")  # what a price that has no figure yet begins with


class CredentialForm(BaseDialogForm):  # type: ignore[misc]  # unfold ships no types
    """Takes a secret and never shows one."""

    secret = forms.CharField(
        label=gettext_lazy("Key"),
        max_length=4000,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
    )


class ReasonForm(BaseDialogForm):  # type: ignore[misc]  # unfold ships no types
    reason = forms.CharField(
        label=gettext_lazy("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget()
    )


class UsdField(forms.CharField):
    """An amount in USD as plain decimal text; empty leaves the figure out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, widget=UnfoldAdminTextInputWidget(), **options)

    def to_python(self, value: Any) -> NanoUsd | None:  # type: ignore[override]  # not text
        text = str(value or "").strip()
        if not text:
            return None
        try:
            return parse_usd(text)
        except InvalidAmount as error:
            raise ValidationError(str(error)) from error


class PriceForm(forms.Form):
    """One field for each figure of a price, in USD; `change()` is what became different."""

    valid_from = forms.SplitDateTimeField(
        label=gettext_lazy("Valid from (UTC)"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text=gettext_lazy("Empty: as soon as every gateway process has loaded it."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget()
    )
    confirm_below_cost = forms.BooleanField(
        label=gettext_lazy("Sell below cost, if it comes to that"),
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
    )

    def __init__(
        self, data: Mapping[str, Any] | None, *, lines: tuple[PriceLine, ...], is_cost: bool
    ) -> None:
        super().__init__(data)
        self._before = {line.rate_id: line.amount_nano_usd for line in lines}
        figures: dict[str, forms.Field] = {f"rate_{line.rate_id}": _figure(line) for line in lines}
        if not lines:
            figures = {
                f"new_{name}": UsdField(label=f"{TOKEN_NAMES[name]}, USD / {_('1M tokens')}")
                for name in FIRST_PRICE
            }
        self.fields = {**figures, **self.fields}
        if is_cost:
            del self.fields["confirm_below_cost"]

    def clean(self) -> None:
        super().clean()
        if not self.errors and not self._rates() and not self._by_rate():
            raise ValidationError(_("No figure is different from what it is now."))

    def change(self, author: str) -> PriceChange:
        """What to hand to `editing`. Only of a valid form."""
        return PriceChange(
            author=author,
            reason=self.cleaned_data["reason"],
            rates=self._rates(),
            by_rate=self._by_rate(),
            valid_from=self.cleaned_data["valid_from"],
        )

    def _rates(self) -> dict[str, NanoUsd]:
        found = {name: self.cleaned_data.get(f"new_{name}") for name in FIRST_PRICE}
        return {name: amount for name, amount in found.items() if amount is not None}

    def _by_rate(self) -> dict[int, NanoUsd]:
        found = {rate_id: self.cleaned_data.get(f"rate_{rate_id}") for rate_id in self._before}
        return {
            rate_id: amount
            for rate_id, amount in found.items()
            if amount is not None and amount != self._before[rate_id]
        }


def _figure(line: PriceLine) -> UsdField:
    return UsdField(
        label=f"{line.what}, USD / {line.per}",
        initial=usd_literal(line.amount_nano_usd),
        help_text=line.when,
    )
