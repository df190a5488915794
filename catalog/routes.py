"""The catalog as plain immutable values: what the gateway reads, rebuilt whole when it changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from catalog.pricing import Price


@dataclass(frozen=True, slots=True)
class Host:
    """Where calls are sent. `secret` is the decrypted credential and never leaves the process."""

    id: int
    slug: str
    name: str
    mode: str  # "sandbox" or "live"
    base_url: str
    auth_header: str  # e.g. "authorization"
    auth_scheme: str  # e.g. "Bearer"; empty: the bare key
    extra_headers: Mapping[str, str]
    secret: str
    region: str = ""
    bills_after_hangup: bool = True  # False: the host stops billing when we hang up, so cut it
    allows_private_addresses: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One way to serve a model: a host, the wire protocol it speaks and the name it knows."""

    id: int
    host: Host
    protocol: str  # key of an adapter: "openai_chat", "anthropic_messages"
    path: str  # below the host's base URL, e.g. "/chat/completions"
    upstream_id: str
    quirks: Mapping[str, object]
    costs: tuple[Price, ...]  # versions, oldest first
    context_window: int | None
    max_output_tokens: int | None
    weight: int = 100
    priority: int = 0  # smaller is tried first


@dataclass(frozen=True, slots=True)
class Model:
    """What a customer asks for by name."""

    id: int
    slug: str
    name: str
    provider: str
    category: str
    status: str
    aliases: tuple[str, ...]
    context_window: int | None
    max_output_tokens: int | None
    usual_output_tokens: int
    input_modalities: frozenset[str]
    output_modalities: frozenset[str]
    features: frozenset[str]
    prices: tuple[Price, ...]  # list price versions, oldest first
    routes: tuple[Route, ...]  # only enabled ones of the installation's mode, with a cost
    released: str = ""
    shutdown_date: date | None = None
    replacement: str = ""
    not_callable_because: str = ""  # empty: it can be called


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the gateway knows of the catalog at one `number`."""

    number: int
    built_at: datetime
    models: Mapping[str, Model]  # by slug
    names: Mapping[str, str] = field(repr=False)  # normalised id or alias -> slug
    author_prefixes: frozenset[str] = frozenset()

    def resolve(self, name: str) -> Model | None:
        """The model that a name means: ids, aliases, any of . _ - alike, `author/` prefixes."""
        key = normalise(name)
        slug = self.names.get(key)
        if slug is None and "/" in key:
            author, _, rest = key.partition("/")
            slug = self.names.get(rest) if author in self.author_prefixes else None
        return self.models[slug] if slug is not None else None


def normalise(name: str) -> str:
    """Lower case, and `.`, `_` and `-` mean the same character."""
    return name.strip().lower().replace(".", "-").replace("_", "-")


def in_force(versions: tuple[Price, ...], at: datetime) -> Price | None:
    """The newest version whose `valid_from` is not after `at`; None before the first."""
    found = None
    for version in versions:
        if version.valid_from > at:
            break
        found = version
    return found
