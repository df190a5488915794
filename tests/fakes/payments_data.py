"""The signed payment test data outside the repository; tests skip, with the reason, without it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> Any:
    """Read payments/<name>, or skip."""
    folder = Path(os.environ.get("TOKENMIX_SHARED", ROOT.parent / "shared"))
    path = folder / "payments" / name
    if not path.exists():
        pytest.skip(f"No {path.name}: set TOKENMIX_SHARED to the folder of the test data.")
    return json.loads(path.read_text(encoding="utf-8"))
