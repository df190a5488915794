"""Whether this process can do its work: are the database and Redis there?"""

from dataclasses import dataclass

import redis
from django.conf import settings
from django.db import DatabaseError, connection

ANSWER_WITHIN_S = 2


@dataclass(frozen=True, slots=True)
class Readiness:
    """`parts` says of each part "ok", or why not, without addresses or credentials."""

    parts: dict[str, str]

    @property
    def is_ready(self) -> bool:
        return all(state == "ok" for state in self.parts.values())


def check_readiness() -> Readiness:
    return Readiness({"database": _database(), "redis": _redis()})


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return f"The database does not answer ({type(error).__name__})."
    return "ok"


def _redis() -> str:
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
        ) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return f"Redis does not answer ({type(error).__name__})."
    return "ok"
