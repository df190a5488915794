"""A workspace per person, made once."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, transaction
from django.http import HttpResponse

from accounts.models import User, Workspace
from accounts.workspaces import (
    NoWorkspaceError,
    create_workspace_for,
    workspace_of,
    workspace_required,
)


@workspace_required
def page(request):
    return HttpResponse(request.workspace.name)


class TestCreateWorkspaceFor:
    def test_makes_one_only_once(self, ada, workspace):
        assert create_workspace_for(user=ada) == workspace
        assert Workspace.objects.count() == 1


class TestWorkspaceOf:
    def test_says_when_there_is_none(self, db):
        user = User.objects.create_user("bob@example.com")

        with pytest.raises(NoWorkspaceError):
            workspace_of(user_id=user.pk)


class TestWorkspaceRequired:
    def test_gives_people_made_by_a_command_a_workspace(self, rf, db):
        request = rf.get("/")
        request.user = User.objects.create_superuser("root@example.com", "x")

        assert page(request).content == b"root"

    def test_sends_strangers_to_sign_in(self, rf):
        request = rf.get("/keys/")
        request.user = AnonymousUser()

        assert page(request)["Location"] == "/accounts/login/?next=/keys/"


class TestUser:
    def test_is_one_per_address_whatever_its_case(self, ada):
        with pytest.raises(IntegrityError), transaction.atomic():
            User(email="ADA@example.com").save()

    def test_needs_an_address(self, db):
        with pytest.raises(ValueError, match="e-mail"):
            User.objects.create_user("")

    def test_signs_in_with_any_spelling(self, ada):
        assert User.objects.get_by_natural_key("ADA@Example.com") == ada
