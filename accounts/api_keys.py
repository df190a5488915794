"""API keys: made once, shown once, stored as a hash, revoked for ever.

A secret is `sk-tm-`, 43 base62 characters of 32 random bytes, and 6 of their CRC32: a mistyped key
is told from an unknown one without a look-up, and scanners find leaked keys without false alarms.
"""

import hashlib
import secrets
import string
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.changes import ChangeKind, record_change
from accounts.models import ApiKey

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "sk-tm-"
RANDOM_BYTES = 32
BODY_LENGTH = 43
CHECKSUM_LENGTH = 6
SECRET_LENGTH = len(PREFIX) + BODY_LENGTH + CHECKSUM_LENGTH
SHOWN_START = len(PREFIX) + 4
SHOWN_END = 4
MAX_LIVE_KEYS = 100


class KeyNotFoundError(Exception):
    """The workspace has no such key (it may be another workspace's)."""


class TooManyKeysError(Exception):
    """The workspace has MAX_LIVE_KEYS live keys already."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: the only moment at which its secret exists outside the caller's hands."""

    id: int
    secret: str
    name: str


@dataclass(frozen=True, slots=True)
class KeyView:
    id: int
    name: str
    shown: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls with a live key."""

    key_id: int
    workspace_id: int
    key_name: str
    user_id: int


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """The secret was a key's once."""

    key_id: int


def create_key(*, workspace_id: int, user_id: int, name: str) -> NewKey:
    """Make a key. Raises TooManyKeysError."""
    secret = _new_secret()
    with transaction.atomic():
        live = ApiKey.objects.filter(workspace_id=workspace_id, revoked_at=None).count()
        if live >= MAX_LIVE_KEYS:
            message = f"Workspace {workspace_id} has {live} live keys, the most it may have."
            raise TooManyKeysError(message)
        key = ApiKey.objects.create(
            workspace_id=workspace_id,
            created_by_id=user_id,
            name=name,
            prefix=secret[:SHOWN_START],
            last4=secret[-SHOWN_END:],
            key_hash=hash_key(secret),
        )
        record_change(kind=ChangeKind.KEY, subject_id=key.pk)
    return NewKey(id=key.pk, secret=secret, name=name)


def revoke_key(*, workspace_id: int, key_id: int) -> KeyView:
    """Revoke a key; revoking it again changes nothing. Raises KeyNotFoundError."""
    with transaction.atomic():
        changed = ApiKey.objects.filter(
            pk=key_id, workspace_id=workspace_id, revoked_at=None
        ).update(revoked_at=Now())
        if changed:
            record_change(kind=ChangeKind.KEY, subject_id=key_id)
    return get_key(workspace_id=workspace_id, key_id=key_id)


def get_key(*, workspace_id: int, key_id: int) -> KeyView:
    """One key of the workspace. Raises KeyNotFoundError."""
    try:
        return _view(ApiKey.objects.get(pk=key_id, workspace_id=workspace_id))
    except ApiKey.DoesNotExist as error:
        message = f"Workspace {workspace_id} has no key {key_id}."
        raise KeyNotFoundError(message) from error


def list_keys(*, workspace_id: int) -> tuple[KeyView, ...]:
    """The workspace's keys: live ones first, newest first, then revoked ones."""
    keys = ApiKey.objects.filter(workspace_id=workspace_id).order_by(
        F("revoked_at").desc(nulls_first=True), "-created_at", "-id"
    )
    return tuple(_view(key) for key in keys)


def recheck_keys_of(*, user_id: int) -> None:
    """Let every process look up this person's keys anew, inside the caller's transaction."""
    for key_id in ApiKey.objects.filter(created_by_id=user_id).values_list("id", flat=True):
        record_change(kind=ChangeKind.KEY, subject_id=key_id)


def find_caller(*, key_hash: bytes) -> Caller | RevokedKey | None:
    """Whose key has this hash: one query. None when it was never a key.

    The keys of a person who was switched off count as revoked.
    """
    row = (
        ApiKey.objects.filter(key_hash=key_hash)
        .values_list(
            "id", "workspace_id", "name", "created_by_id", "revoked_at", "created_by__is_active"
        )
        .first()
    )
    if row is None:
        return None
    key_id, workspace_id, name, user_id, revoked_at, is_owner_active = row
    if revoked_at is not None or is_owner_active is False:
        return RevokedKey(key_id=key_id)
    return Caller(key_id=key_id, workspace_id=workspace_id, key_name=name, user_id=user_id)


def mark_used(*, key_ids: Collection[int], at: datetime) -> None:
    """Note that keys were called with at `at`; a later note is never replaced by an earlier one.

    For a batch in the background: the call itself does not wait for it.
    """
    ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lt=at), pk__in=sorted(key_ids)
    ).update(last_used_at=at)


def hash_key(secret: str) -> bytes:
    """What is stored. 256 random bits need neither salt nor a slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def has_valid_checksum(secret: str) -> bool:
    """Whether the secret can be one of ours at all; says nothing about whether it exists."""
    if len(secret) != SECRET_LENGTH or not secret.startswith(PREFIX) or not secret.isascii():
        return False
    body = secret[len(PREFIX) : -CHECKSUM_LENGTH]
    return _checksum(body) == secret[-CHECKSUM_LENGTH:]


def _new_secret() -> str:
    body = _base62(int.from_bytes(secrets.token_bytes(RANDOM_BYTES)), BODY_LENGTH)
    return PREFIX + body + _checksum(body)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.pk,
        name=key.name,
        shown=key.shown,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
