"""From sign-up to a workspace; signing in; a forgotten password; second factors."""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core import mail
from django.test import Client

from accounts.models import User, Workspace
from accounts.workspaces import workspace_of
from tests.factories.accounts import PASSWORD, make_person

SIGN_UP = {"email": "Ada@Example.com", "password1": PASSWORD}


def sign_up(client: Client, **fields: str):
    return client.post("/accounts/signup/", SIGN_UP | fields)


def code_in(message) -> str:
    return re.search(r"^ {4}(\S+)$", message.body, re.MULTILINE).group(1)


@pytest.mark.django_db
class TestSignUp:
    def test_ends_with_a_confirmed_person_in_a_workspace(self, client):
        sent = sign_up(client)
        confirmed = client.post(sent["Location"], {"code": code_in(mail.outbox[0])})

        user = User.objects.get(email="ada@example.com")
        assert confirmed["Location"] == "/dashboard/"
        assert EmailAddress.objects.get(user=user).verified
        assert workspace_of(user_id=user.pk).role == "OWNER"
        assert workspace_of(user_id=user.pk).name == "ada"

    def test_lets_nobody_in_before_the_code(self, client):
        sign_up(client)

        assert client.get("/dashboard/").status_code == 302

    def test_refuses_a_wrong_code(self, client):
        sent = sign_up(client)

        answer = client.post(sent["Location"], {"code": "AAAAAA"})

        assert answer.context["verify_form"].errors["code"]
        assert not EmailAddress.objects.filter(verified=True).exists()

    def test_makes_user_and_workspace_together_or_not_at_all(self, client, monkeypatch):
        def fail(*, user):
            raise RuntimeError

        monkeypatch.setattr("accounts.adapter.create_workspace_for", fail)

        with pytest.raises(RuntimeError):
            sign_up(client)
        assert not User.objects.exists()
        assert not EmailAddress.objects.exists()

    def test_does_not_tell_that_an_address_is_taken(self, client):
        make_person("ada@example.com")

        taken = sign_up(client)
        fresh = sign_up(Client(), email="bob@example.com")

        assert (taken.status_code, taken["Location"]) == (fresh.status_code, fresh["Location"])
        assert Workspace.objects.count() == 2

    def test_knows_one_address_in_any_case(self, client):
        make_person("ada@example.com")

        sign_up(client, email="ADA@EXAMPLE.COM")

        assert User.objects.count() == 1

    def test_writes_a_mail_that_names_the_product(self, client):
        sign_up(client)

        assert mail.outbox[0].subject == "TokenMix: Confirm your e-mail address"
        assert "TokenMix" in mail.outbox[0].body


class TestSignIn:
    def test_leads_to_the_dashboard(self, client, ada):
        answer = client.post("/accounts/login/", {"login": "ADA@example.com", "password": PASSWORD})

        assert answer["Location"] == "/dashboard/"

    def test_refuses_a_wrong_password(self, client, ada):
        answer = client.post("/accounts/login/", {"login": ada.email, "password": "wrong"})

        assert answer.status_code == 200
        assert client.get("/dashboard/").status_code == 302

    def test_goes_on_to_our_own_page(self, client, ada):
        answer = client.post(
            "/accounts/login/?next=/keys/",
            {"login": ada.email, "password": PASSWORD, "next": "/keys/"},
        )

        assert answer["Location"] == "/keys/"

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://evil.example/",
            "//evil.example/",
            "http:///evil.example",
            "https://127.0.0.1/",
            "javascript:alert(1)",
            "\\\\evil.example",
        ],
    )
    def test_never_goes_on_to_somebody_elses(self, client, ada, elsewhere):
        answer = client.post(
            "/accounts/login/", {"login": ada.email, "password": PASSWORD, "next": elsewhere}
        )

        assert answer["Location"] == "/dashboard/"


class TestPasswordReset:
    def test_sets_a_new_password_by_the_link_in_the_mail(self, client, ada):
        client.post("/accounts/password/reset/", {"email": ada.email})
        link = re.search(r"https?://[^/]+(\S+)", mail.outbox[0].body).group(1)
        form = client.get(link)

        client.post(
            form["Location"],
            {"password1": "a new and longer one", "password2": "a new and longer one"},
        )

        ada.refresh_from_db()
        assert ada.check_password("a new and longer one")

    def test_does_not_tell_whether_the_address_is_known(self, client, ada):
        known = client.post("/accounts/password/reset/", {"email": ada.email})
        unknown = client.post("/accounts/password/reset/", {"email": "nobody@example.com"})

        assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])


class TestSecondFactor:
    def test_is_asked_for_once_it_is_set_up(self, client, ada):
        client.post("/accounts/login/", {"login": ada.email, "password": PASSWORD})
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        secret = client.get("/accounts/2fa/totp/activate/").context["form"].secret
        now = next(iter(yield_hotp_counters_from_time()))
        code = format_hotp_value(hotp_value(secret, now))

        client.post("/accounts/2fa/totp/activate/", {"code": code})

        assert Authenticator.objects.filter(user=ada, type="totp").exists()
        again = Client().post("/accounts/login/", {"login": ada.email, "password": PASSWORD})
        assert again["Location"].startswith("/accounts/2fa/authenticate/")
