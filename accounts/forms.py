"""Forms of accounts."""

from typing import Any, cast

from allauth.account.forms import SignupForm
from django import forms
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, User

LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3


class SignUpForm(SignupForm):  # type: ignore[misc]  # allauth ships no types
    """allauth's form: user, e-mail address and workspace are made together or not at all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = _("At least 8 characters, and not a common password.")

    def clean_email(self) -> str:
        email = cast("str", super().clean_email())
        if len(email) > LONGEST_EMAIL:
            raise forms.ValidationError(_("This address is too long."))
        return email

    def save(self, request: HttpRequest) -> User:
        with transaction.atomic():
            return cast("User", super().save(request))


class NewKeyForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=ApiKey._meta.get_field("name").max_length,  # noqa: SLF001  (Django's public API)
        help_text=_("Where the key will be used, such as “laptop” or “production”."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": _("production")}),
    )

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())
