"""The admin: our own door, its own content policy, and nothing secret behind it."""

import pytest
from django.test import Client

from accounts import api_keys
from accounts.changes import ChangeKind, record_change
from accounts.models import Change
from tests.factories.accounts import make_staff


@pytest.fixture
def operator(db) -> Client:
    client = Client()
    client.force_login(make_staff())
    return client


@pytest.fixture
def key(ada, workspace):
    return api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="<i>laptop</i>")


class TestAdminLogin:
    def test_is_our_own_strict_page(self, client, db):
        answer = client.get("/admin/", follow=True)

        path, query = answer.redirect_chain[-1][0].split("?")
        assert (path, query) == ("/accounts/login/", "next=%2Fadmin%2F")
        assert "unsafe" not in answer["Content-Security-Policy"]

    def test_refuses_those_who_are_no_staff(self, browser):
        assert browser.get("/admin/", follow=True).status_code == 403

    def test_lets_staff_on_to_where_they_wanted(self, operator):
        answer = operator.get("/admin/login/?next=/admin/accounts/user/")

        assert answer["Location"] == "/admin/accounts/user/"

    @pytest.mark.parametrize(
        "elsewhere", ["https://evil.example/", "//evil.example", "/admin/login/"]
    )
    def test_sends_nobody_elsewhere(self, operator, elsewhere):
        answer = operator.get("/admin/login/", {"next": elsewhere})

        assert answer["Location"] == "/admin/"


class TestPolicy:
    def test_is_relaxed_for_the_admin_and_nowhere_else(self, operator):
        assert "'unsafe-eval'" in operator.get("/admin/")["Content-Security-Policy"]
        assert "unsafe" not in operator.get("/")["Content-Security-Policy"]


class TestApiKeyAdmin:
    def test_shows_neither_hash_nor_raw_names(self, operator, key):
        page = operator.get(f"/admin/accounts/apikey/{key.id}/change/").content.decode()

        assert "key_hash" not in page
        assert api_keys.hash_key(key.secret).hex() not in page
        assert "<i>laptop</i>" not in page

    def test_can_revoke_and_announces_it(self, operator, key):
        operator.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [key.id]})

        found = api_keys.find_caller(key_hash=api_keys.hash_key(key.secret))
        assert isinstance(found, api_keys.RevokedKey)
        assert Change.objects.filter(kind=ChangeKind.KEY, subject_id=key.id).count() == 2

    def test_can_neither_make_nor_delete(self, operator, key):
        assert operator.get("/admin/accounts/apikey/add/").status_code == 403
        assert operator.post(f"/admin/accounts/apikey/{key.id}/delete/").status_code == 403


class TestChangeAdmin:
    def test_is_read_only(self, operator):
        record_change(kind=ChangeKind.CATALOG, subject_id=0)
        change = Change.objects.get()

        assert operator.get("/admin/accounts/change/").status_code == 200
        assert operator.get("/admin/accounts/change/add/").status_code == 403
        assert operator.post(f"/admin/accounts/change/{change.pk}/delete/").status_code == 403


class TestAccountPages:
    @pytest.mark.parametrize("path", ["user", "user/add", "workspace", "workspace/add"])
    def test_open(self, operator, path):
        assert operator.get(f"/admin/accounts/{path}/").status_code == 200

    def test_hold_no_second_factors(self, operator):
        assert operator.get("/admin/mfa/authenticator/").status_code == 404
