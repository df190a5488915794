import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from accounts.workspaces import WorkspaceView, workspace_of
from tests.factories.accounts import make_person


@pytest.fixture(autouse=True)
def _fresh_rate_limits():
    cache.clear()


@pytest.fixture
def ada(db) -> User:
    return make_person("ada@example.com")


@pytest.fixture
def workspace(ada: User) -> WorkspaceView:
    return workspace_of(user_id=ada.pk)


@pytest.fixture
def browser(ada: User, client: Client) -> Client:
    client.force_login(ada)
    return client
