"""The site's own pages: what they show, under which policy, in which language."""

from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.mail import EmailMessage, get_connection
from django.db import DatabaseError
from django.test import Client

from accounts.api_keys import create_key
from accounts.workspaces import workspace_of
from billing.ledger import HouseAccount, TransferKind, credit
from billing.queries import wallet_id_of
from tests.factories.accounts import make_person

FILES = "django.core.mail.backends.filebased.EmailBackend"
STRICT = ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'")


@pytest.fixture
def browser(db) -> Client:
    client = Client()
    client.force_login(make_person())
    return client


class TestPolicy:
    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/accounts/login/",
            "/accounts/signup/",
            "/accounts/password/reset/",
            "/no-such-page/",
        ],
    )
    def test_is_strict_and_kept_by_public_pages(self, client, db, path):
        answer = client.get(path)

        assert all(part in answer["Content-Security-Policy"] for part in STRICT)
        assert "unsafe" not in answer["Content-Security-Policy"]
        page = answer.content.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert " onclick=" not in page

    @pytest.mark.parametrize("path", ["/dashboard/", "/keys/", "/keys/new/", "/accounts/email/"])
    def test_is_strict_for_members_too(self, browser, path):
        answer = browser.get(path)

        assert answer.status_code == 200
        assert all(part in answer["Content-Security-Policy"] for part in STRICT)
        assert " style=" not in answer.content.decode()


class TestHome:
    def test_says_what_it_is_and_where_to_call(self, client, db, settings):
        page = client.get("/").content.decode()

        assert f"{settings.BASE_URL}/v1" in page
        assert "/accounts/signup/" in page

    def test_makes_no_claim_about_an_empty_catalog(self, client, db):
        assert "providers</dt>" not in client.get("/").content.decode()


class TestDashboard:
    def test_leads_a_newcomer_through_three_steps(self, browser):
        answer = browser.get("/dashboard/")

        steps = answer.context["steps"]
        assert (steps.is_funded, steps.has_key, steps.has_called) == (False, False, False)
        assert "$0.00" in answer.content.decode()

    def test_ticks_off_what_is_done(self, client, db):
        user = make_person()
        workspace = workspace_of(user_id=user.pk)
        create_key(workspace_id=workspace.id, user_id=user.pk, name="laptop")
        credit(
            wallet_id=wallet_id_of(workspace_id=workspace.id),
            amount=12_500_000_000,
            reference="test:1",
            source=HouseAccount.CLEARING,
            kind=TransferKind.TOP_UP,
        )
        client.force_login(user)

        answer = client.get("/dashboard/")

        steps = answer.context["steps"]
        assert (steps.is_funded, steps.has_key, steps.has_called) == (True, True, False)
        assert "$12.50" in answer.content.decode()


class TestLanguage:
    def test_follows_the_browser_and_then_the_choice(self, client, db):
        chinese = client.get("/accounts/login/", headers={"accept-language": "zh-CN"})
        client.post("/i18n/setlang/", {"language": "en", "next": "/"})
        english = client.get("/accounts/login/", headers={"accept-language": "zh-CN"})

        assert "登录" in chinese.content.decode()
        assert "Sign in" in english.content.decode()

    def test_switch_leads_nowhere_else(self, client, db):
        answer = client.post("/i18n/setlang/", {"language": "en", "next": "https://evil.example/"})

        assert answer["Location"] == "/"


class TestReadyz:
    def test_is_ready_with_both_stores(self, client, db):
        answer = client.get("/readyz")

        assert answer.status_code == 200
        assert answer.json() == {"ready": True, "database": "ok", "redis": "ok"}

    def test_names_what_is_away(self, client, db, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        failing = patch("tokenmix_site.readiness.connection.cursor", side_effect=DatabaseError)

        with failing:
            answer = client.get("/readyz")

        assert answer.status_code == 503
        assert answer.json()["ready"] is False
        assert "does not answer" in answer.json()["database"]
        assert "does not answer" in answer.json()["redis"]


class TestErrors:
    def test_know_a_page_that_is_not_there(self, client, db):
        answer = client.get("/no-such-page/")

        assert answer.status_code == 404
        assert "There is no such page." in answer.content.decode()

    def test_show_a_broken_page_without_the_database(self, client):
        client.raise_request_exception = False
        with patch("tokenmix_site.views.counts", side_effect=RuntimeError):
            answer = client.get("/")

        assert answer.status_code == 500
        assert "Something broke on our side." in answer.content.decode()


class TestDevMail:
    def test_does_not_exist_where_mails_are_sent(self, client, db):
        assert client.get("/dev/mail/").status_code == 404

    def test_shows_the_newest_mail_first(self, client, db, settings, tmp_path: Path):
        settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = FILES, tmp_path
        for text in ("the first code", "码 <b>two</b>"):
            EmailMessage("Hello", text, "a@example.com", ["ada@example.com"]).send()

        page = client.get("/dev/mail/").content.decode()

        assert page.index("码 &lt;b&gt;two") < page.index("the first code")

    def test_shows_each_mail_of_one_connection(self, client, db, settings, tmp_path: Path):
        settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = FILES, tmp_path
        mails = [EmailMessage("Hello", text, to=["ada@example.com"]) for text in ("one", "two")]
        get_connection(FILES, file_path=tmp_path).send_messages(mails)

        assert len(client.get("/dev/mail/").context["mails"]) == 2
