"""What `make run` adds to the environment: made-up secrets, the addresses of its own servers.

The caller's variables win, then .env, then what is made here.
"""

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[2]


def data_folder(environ: Mapping[str, str]) -> Path:
    return (ROOT / environ.get("TOKENMIX_DATA", ".data")).resolve()


def read_file(file: Path) -> dict[str, str]:
    """The variables of a KEY=value file; none when it does not exist."""
    return {name: value for name, value in dotenv_values(file).items() if value}


def own_environment() -> dict[str, str]:
    """The caller's variables over those of .env; an empty one counts as not set."""
    given = {name: value for name, value in os.environ.items() if value}
    return read_file(ROOT / ".env") | given


def load_secrets(file: Path) -> dict[str, str]:
    """The secrets of this data folder, made at its first start. Readable by its owner alone."""
    if not file.exists():
        made = {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "CREDENTIAL_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "STRIPE_SECRET_KEY": f"sk_test_sandbox_{secrets.token_hex(12)}",
            "STRIPE_WEBHOOK_SECRETS": f"whsec_{secrets.token_urlsafe(24)}",
        }
        write_private(file, made)
    return read_file(file)


def child_environment(
    given: Mapping[str, str], *, data: Path, url: str, sandbox_url: str
) -> dict[str, str]:
    """What every child gets: made-up values under those that the caller gave."""
    made = load_secrets(data / "secrets.env") | {
        "DJANGO_SETTINGS_MODULE": "tokenmix_site.settings.dev",
        "TOKENMIX_BASE_URL": url,
        "TOKENMIX_SANDBOX_URL": sandbox_url,
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
    }
    return {**made, **given, "TOKENMIX_DATA": str(data)}


def write_private(file: Path, values: Mapping[str, str]) -> None:
    """Write a KEY=value file that only its owner may read, whole or not at all."""
    part = file.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    part.replace(file)


def load_running() -> None:
    """Let a command beside a running `make run` reach the same servers with the same secrets."""
    environ = own_environment()
    for name, value in read_file(data_folder(environ) / "run.env").items():
        os.environ.setdefault(name, environ.get(name, value))
