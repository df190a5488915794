"""People and their workspaces for tests."""

from allauth.account.models import EmailAddress

from accounts.models import Membership, Role, User
from accounts.workspaces import WorkspaceView, create_workspace_for

PASSWORD = "correct horse battery staple"


def make_person(email: str = "ada@example.com") -> User:
    """Someone who has signed up and confirmed their address."""
    user = User.objects.create_user(email, PASSWORD)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    create_workspace_for(user=user)
    return user


def make_staff(email: str = "operator@example.com") -> User:
    user = User.objects.create_superuser(email, PASSWORD)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def join(user: User, workspace: WorkspaceView, role: Role) -> None:
    """Make someone without a workspace of their own a member of another's."""
    Membership.objects.filter(user=user).delete()
    Membership.objects.create(user=user, workspace_id=workspace.id, role=role)
