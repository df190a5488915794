"""Typed environment reading: every setting of an installation, its type, default and meaning.

A missing or malformed variable stops the start and is named. Only `settings/` reads this module.
"""

from enum import StrEnum
from functools import lru_cache

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Mode(StrEnum):
    """Which money and which hosts exist in this installation (sandbox is the default)."""

    SANDBOX = "sandbox"
    LIVE = "live"


class Serve(StrEnum):
    """Which URLs this process answers."""

    ALL = "all"
    WEB = "web"
    GATEWAY = "gateway"


class Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    secret_key: SecretStr = Field(description="Django's signing key; 50 random characters or more.")
    mode: Mode = Field(
        Mode.SANDBOX,
        alias="TOKENMIX_MODE",
        description="sandbox (test money, stand-in hosts) or live. Going live: docs/going-live.md.",
    )
    serve: Serve = Field(
        Serve.ALL,
        alias="TOKENMIX_SERVE",
        description="Which URLs a process answers: all, web (pages) or gateway (/v1).",
    )
    base_url: str = Field(
        "http://127.0.0.1:8000",
        alias="TOKENMIX_BASE_URL",
        description="Public address of the site, without a slash at the end.",
    )
    allowed_hosts: str = Field(
        "127.0.0.1,localhost", description="Host names that the site answers to, by comma."
    )
    database_url: str = Field(
        "", description="postgresql:// address. Empty: the project starts its own in .data/."
    )
    redis_url: str = Field(
        "", description="redis:// or unix:// address. Empty: the project starts its own in .data/."
    )
    email_url: str = Field(
        "", description="smtp://user:password@host:port of the outgoing mail server."
    )
    mail_from: str = Field(
        "TokenMix <noreply@localhost>", description="Sender of the mails that the site sends."
    )
    credential_keys: SecretStr = Field(
        SecretStr(""),
        description="Fernet keys that encrypt provider credentials, newest first, by comma.",
    )
    lease_s: float = Field(
        10,
        gt=1,
        alias="TOKENMIX_LEASE_S",
        description="How long a gateway process may sell after a renewal.",
    )
    beat_s: float = Field(
        2,
        gt=0,
        alias="TOKENMIX_BEAT_S",
        description="How often a gateway process renews its lease.",
    )
    idle_grant_s: float = Field(
        60,
        gt=0,
        alias="TOKENMIX_IDLE_GRANT_S",
        description="How long a gateway process keeps money that no call needs.",
    )
    sweep_delay_s: float = Field(
        20,
        gt=0,
        alias="TOKENMIX_SWEEP_DELAY_S",
        description="How long the sweeper watches an ended lease before it closes its grants.",
    )
    sandbox_url: str = Field(
        "http://127.0.0.1:8090",
        alias="TOKENMIX_SANDBOX_URL",
        description="Where the stand-in providers and payment services listen (sandbox mode only).",
    )
    stripe_secret_key: SecretStr = Field(SecretStr(""), description="Stripe API key (sk_…).")
    stripe_webhook_secrets: SecretStr = Field(
        SecretStr(""), description="Stripe endpoint secrets (whsec_…), newest first, by comma."
    )
    stripe_base_url: str = Field("", description="Stripe's address; empty: Stripe's own.")
    data: str = Field(
        ".data",
        alias="TOKENMIX_DATA",
        description="Folder of a development machine's servers, mails and made-up secrets.",
    )
    max_in_flight: int = Field(
        2000,
        gt=0,
        alias="TOKENMIX_MAX_IN_FLIGHT",
        description="Calls in flight per gateway process; more get 503.",
    )


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Read the environment once. Raises pydantic.ValidationError, naming each bad variable."""
    return Environment()  # type: ignore[call-arg]  # pydantic fills required fields from variables
