"""A person who is switched off can neither browse nor call."""

import pytest

from accounts.api_keys import RevokedKey, create_key, find_caller, hash_key, recheck_keys_of
from accounts.changes import ChangeKind
from accounts.models import Change, User
from accounts.workspaces import create_workspace_for

pytestmark = pytest.mark.django_db


class TestSwitchedOff:
    def test_keys_count_as_revoked_and_every_process_hears_of_it(self) -> None:
        user = User.objects.create_user("leaver@example.com", "x")
        workspace = create_workspace_for(user=user)
        key = create_key(workspace_id=workspace.id, user_id=user.pk, name="laptop")
        Change.objects.all().delete()

        User.objects.filter(pk=user.pk).update(is_active=False)
        recheck_keys_of(user_id=user.pk)

        assert find_caller(key_hash=hash_key(key.secret)) == RevokedKey(key_id=key.id)
        assert Change.objects.filter(kind=ChangeKind.KEY, subject_id=key.id).count() == 1
