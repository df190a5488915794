"""The mails of a development machine, so that a newcomer can read the code they were sent.

Django's file backend writes them; in production there is no such backend, and no such page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import parsedate_to_datetime
from pathlib import Path

from django.conf import settings

FILE_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
BETWEEN_MAILS = b"\n" + b"-" * 79 + b"\n"
MOST_FILES = 50
LONGEST_FILE_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Mail:
    at: datetime | None
    to: str
    subject: str
    text: str


def has_dev_mail() -> bool:
    return bool(settings.EMAIL_BACKEND == FILE_BACKEND)


def newest_mails(*, limit: int) -> list[Mail]:
    """The newest mails, newest first."""
    files = sorted(
        Path(settings.EMAIL_FILE_PATH).glob("*.log"),
        key=lambda file: file.stat().st_mtime_ns,
        reverse=True,
    )
    mails = [mail for file in files[:MOST_FILES] for mail in reversed([*_mails_in(file)])]
    return mails[:limit]


def _mails_in(file: Path) -> Iterator[Mail]:
    for part in file.read_bytes()[-LONGEST_FILE_BYTES:].split(BETWEEN_MAILS):
        if part.strip():
            yield _mail(message_from_bytes(part.lstrip(), policy=default))


def _mail(message: EmailMessage) -> Mail:
    body = message.get_body(("plain",))
    date = message["Date"]
    return Mail(
        at=parsedate_to_datetime(str(date)) if date else None,
        to=str(message["To"] or ""),
        subject=str(message["Subject"] or ""),
        text=str(body.get_content()).strip() if body else "",
    )
