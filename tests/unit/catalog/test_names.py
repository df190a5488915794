"""How a name is resolved to a model."""

from datetime import UTC, datetime

import pytest

from catalog.routes import Model, Snapshot, normalise


def model(slug: str) -> Model:
    return Model(
        id=1, slug=slug, name=slug, provider="maker", category="chat", status="active",
        aliases=(), context_window=None, max_output_tokens=None, usual_output_tokens=1000,
        input_modalities=frozenset(), output_modalities=frozenset(), features=frozenset(),
        prices=(), routes=(),
    )  # fmt: skip


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot(
        number=1,
        built_at=datetime(2026, 11, 22, tzinfo=UTC),
        models={"claude-opus-4-7": model("claude-opus-4-7"), "kimi-k2": model("kimi-k2")},
        names={
            "claude-opus-4-7": "claude-opus-4-7",
            "kimi-k2": "kimi-k2",
            "moonshotai/kimi-k2": "kimi-k2",
        },
        author_prefixes=frozenset({"anthropic", "moonshotai"}),
    )


class TestNormalise:
    @pytest.mark.parametrize("name", ["Claude-Opus-4.7", "claude_opus_4_7", " CLAUDE.opus-4_7 "])
    def test_treats_case_and_separators_alike(self, name: str) -> None:
        assert normalise(name) == "claude-opus-4-7"


class TestResolve:
    @pytest.mark.parametrize(
        "name",
        ["claude-opus-4-7", "Claude.Opus.4.7", "anthropic/claude-opus-4.7"],
    )
    def test_finds_every_spelling(self, snapshot: Snapshot, name: str) -> None:
        found = snapshot.resolve(name)

        assert found is not None
        assert found.slug == "claude-opus-4-7"

    def test_finds_an_alias_with_a_slash(self, snapshot: Snapshot) -> None:
        found = snapshot.resolve("moonshotai/Kimi.K2")

        assert found is not None
        assert found.slug == "kimi-k2"

    @pytest.mark.parametrize(
        "name", ["claude-opus", "evil/claude-opus-4-7", "anthropic/anthropic/kimi-k2", "", "/"]
    )
    def test_finds_nothing_for_other_names(self, snapshot: Snapshot, name: str) -> None:
        assert snapshot.resolve(name) is None
