"""The pages on which people make and revoke keys."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts import api_keys
from accounts.models import ApiKey, Role
from accounts.workspaces import workspace_of
from tests.factories.accounts import join, make_person


@pytest.fixture
def key(ada, workspace):
    return api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="laptop")


class TestNewKey:
    def test_shows_the_secret_once(self, browser, workspace):
        answer = browser.post(reverse("key_new"), {"name": "  my   laptop "})

        (made,) = api_keys.list_keys(workspace_id=workspace.id)
        secret = answer.context["key"].secret
        assert made.name == "my laptop"
        assert secret in answer.content.decode()
        assert api_keys.has_valid_checksum(secret)
        assert secret not in browser.get(reverse("keys")).content.decode()

    def test_is_never_kept_by_a_cache(self, browser):
        answer = browser.post(reverse("key_new"), {"name": "laptop"})

        assert "no-store" in answer["Cache-Control"]

    def test_asks_for_a_name(self, browser):
        answer = browser.post(reverse("key_new"), {"name": "   "})

        assert answer.context["form"].errors["name"]
        assert not ApiKey.objects.exists()

    def test_says_when_there_are_too_many(self, browser, key, monkeypatch):
        monkeypatch.setattr(api_keys, "MAX_LIVE_KEYS", 1)

        answer = browser.post(reverse("key_new"), {"name": "another"})

        assert "1 live keys" in answer.content.decode()

    @pytest.mark.parametrize("role", [Role.BILLING, Role.READ_ONLY])
    def test_is_for_those_whose_role_includes_it(self, browser, ada, role):
        owner = make_person("owner@example.com")
        join(ada, workspace_of(user_id=owner.pk), role)

        assert browser.get(reverse("keys")).status_code == 200
        assert browser.post(reverse("key_new"), {"name": "laptop"}).status_code == 403

    def test_needs_a_csrf_token(self, ada):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(ada)

        assert browser.post(reverse("key_new"), {"name": "laptop"}).status_code == 403


class TestRevoke:
    def test_asks_first(self, browser, workspace, key):
        answer = browser.get(reverse("key_revoke", args=[key.id]))

        assert "laptop" in answer.content.decode()
        assert api_keys.get_key(workspace_id=workspace.id, key_id=key.id).is_live

    def test_then_revokes(self, browser, workspace, key):
        answer = browser.post(reverse("key_revoke", args=[key.id]), follow=True)

        assert "is revoked" in answer.content.decode()
        assert not api_keys.get_key(workspace_id=workspace.id, key_id=key.id).is_live

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_finds_no_key_of_another_workspace(self, client, key, workspace, method):
        client.force_login(make_person("eve@example.com"))

        answer = getattr(client, method)(reverse("key_revoke", args=[key.id]))

        assert answer.status_code == 404
        assert api_keys.get_key(workspace_id=workspace.id, key_id=key.id).is_live


class TestKeys:
    def test_escapes_names(self, browser, ada, workspace):
        api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="<b>x</b>")

        page = browser.get(reverse("keys")).content.decode()

        assert "<b>x</b>" not in page
        assert "&lt;b&gt;x&lt;/b&gt;" in page

    def test_sends_strangers_to_sign_in(self, client, db):
        answer = client.get(reverse("keys"))

        assert answer.status_code == 302
        assert answer["Location"] == "/accounts/login/?next=/keys/"
