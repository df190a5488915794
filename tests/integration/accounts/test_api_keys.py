"""Keys in the database: made, found, revoked, and each change announced."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts import api_keys
from accounts.api_keys import Caller, RevokedKey
from accounts.changes import ChangeKind
from accounts.models import ApiKey, Change
from accounts.workspaces import workspace_of
from tests.factories.accounts import make_person

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def key(ada, workspace):
    return api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="laptop")


def key_changes() -> list[int]:
    return list(
        Change.objects.filter(kind=ChangeKind.KEY)
        .order_by("id")
        .values_list("subject_id", flat=True)
    )


class TestCreateKey:
    def test_stores_a_hash_and_not_the_secret(self, key):
        stored = ApiKey.objects.get(pk=key.id)

        assert bytes(stored.key_hash) == api_keys.hash_key(key.secret)
        kept = " ".join(str(value) for value in vars(stored).values())
        assert key.secret not in kept
        assert key.secret[12:-6] not in kept

    def test_makes_a_key_that_can_call(self, ada, workspace, key):
        caller = api_keys.find_caller(key_hash=api_keys.hash_key(key.secret))

        assert caller == Caller(
            key_id=key.id, workspace_id=workspace.id, key_name="laptop", user_id=ada.pk
        )

    def test_is_announced(self, key):
        assert key_changes() == [key.id]

    def test_refuses_one_more_than_a_workspace_may_have(self, ada, workspace, monkeypatch):
        monkeypatch.setattr(api_keys, "MAX_LIVE_KEYS", 1)
        api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="first")

        with pytest.raises(api_keys.TooManyKeysError):
            api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="second")


class TestRevokeKey:
    def test_makes_the_key_known_as_revoked(self, workspace, key):
        api_keys.revoke_key(workspace_id=workspace.id, key_id=key.id)

        found = api_keys.find_caller(key_hash=api_keys.hash_key(key.secret))
        assert found == RevokedKey(key_id=key.id)

    def test_twice_changes_nothing(self, workspace, key):
        first = api_keys.revoke_key(workspace_id=workspace.id, key_id=key.id)

        second = api_keys.revoke_key(workspace_id=workspace.id, key_id=key.id)

        assert second == first
        assert key_changes() == [key.id, key.id]  # made, revoked

    def test_does_not_reach_another_workspace(self, key):
        stranger = make_person("eve@example.com")
        theirs = workspace_of(user_id=stranger.pk)

        with pytest.raises(api_keys.KeyNotFoundError):
            api_keys.revoke_key(workspace_id=theirs.id, key_id=key.id)
        assert isinstance(api_keys.find_caller(key_hash=api_keys.hash_key(key.secret)), Caller)


class TestFindCaller:
    def test_knows_no_stranger(self, db):
        assert api_keys.find_caller(key_hash=api_keys.hash_key("sk-tm-stranger")) is None

    def test_takes_one_query(self, key, django_assert_num_queries):
        with django_assert_num_queries(1):
            api_keys.find_caller(key_hash=api_keys.hash_key(key.secret))


class TestListKeys:
    def test_shows_live_keys_first_and_no_more_than_both_ends(self, ada, workspace, key):
        live = api_keys.create_key(workspace_id=workspace.id, user_id=ada.pk, name="live")
        api_keys.revoke_key(workspace_id=workspace.id, key_id=key.id)

        shown = api_keys.list_keys(workspace_id=workspace.id)

        assert [view.name for view in shown] == ["live", "laptop"]
        assert [view.is_live for view in shown] == [True, False]
        assert shown[0].shown == f"{live.secret[:10]}…{live.secret[-4:]}"


class TestMarkUsed:
    def test_keeps_the_latest_moment(self, workspace, key):
        api_keys.mark_used(key_ids=[key.id], at=NOON)

        api_keys.mark_used(key_ids=[key.id], at=NOON - timedelta(minutes=1))

        kept = api_keys.get_key(workspace_id=workspace.id, key_id=key.id)
        assert kept.last_used_at == NOON
