"""Keeps the operator's keys for hosts: encrypted with CREDENTIAL_KEYS, written once, never shown.

The first of CREDENTIAL_KEYS encrypts; all of them decrypt, so keys are changed without a gap.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class NoCredentialKeys(Exception):  # noqa: N818  (named for what could not be done)
    """CREDENTIAL_KEYS is not set, so no credential can be kept or read."""


class CannotDecrypt(Exception):  # noqa: N818
    """None of CREDENTIAL_KEYS made this credential."""


def encrypt(secret: str) -> bytes:
    """The secret as it is stored. Raises NoCredentialKeys."""
    return _cipher().encrypt(secret.encode())


def decrypt(stored: bytes | memoryview) -> str:
    """The secret itself. Raises NoCredentialKeys or CannotDecrypt."""
    try:
        return _cipher().decrypt(bytes(stored)).decode()
    except InvalidToken as error:
        message = "None of CREDENTIAL_KEYS made this credential: enter it again."
        raise CannotDecrypt(message) from error


def _cipher() -> MultiFernet:
    if not settings.CREDENTIAL_KEYS:
        message = (
            "CREDENTIAL_KEYS is empty: set it to one or more Fernet keys, newest first, by comma."
        )
        raise NoCredentialKeys(message)
    return MultiFernet([Fernet(key) for key in settings.CREDENTIAL_KEYS])
