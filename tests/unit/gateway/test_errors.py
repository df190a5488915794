import json
from pathlib import Path

import pytest

from gateway import errors


class TestTable:
    @pytest.mark.parametrize("name", errors.table())
    def test_each_row_is_in_openais_envelope(self, name):
        kind = errors.table()[name]

        body = json.loads(errors.error_body("Text.", kind.type, kind.code, None))

        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert 400 <= kind.status < 600
        assert kind.code == kind.code.lower()

    def test_fills_values_in(self):
        error = errors.MODEL_NOT_FOUND.error(param="model", model="gpt-{9}")

        assert "'gpt-{9}'" in error.message
        assert json.loads(error.body)["error"]["param"] == "model"

    def test_empty_wallet_is_not_retried(self):
        error = errors.INSUFFICIENT_QUOTA.error(available="$0.00", needed="$1.00")

        assert error.status == 402
        assert ("x-should-retry", "false") in error.headers

    def test_a_better_code_replaces_the_rows(self):
        kind = errors.INVALID_REQUEST

        assert kind.with_code("invalid_json").error(message="x").code == "invalid_json"
        assert kind.with_code(None).error(message="x").code == "invalid_request"


class TestDocumentation:
    @pytest.mark.parametrize("name", errors.table())
    def test_has_each_row(self, name):
        kind = errors.table()[name]
        text = (Path(__file__).parents[3] / "docs" / "errors.md").read_text()

        assert any(
            line.startswith(f"| {kind.status} | {kind.type} |") and kind.code in line
            for line in text.splitlines()
        )
