"""Puts the functions of `sql/` into the database. Migrations call it; nothing else does.

A later migration that runs it again replaces each function with what its file says by then.
"""

import re
from pathlib import Path
from typing import Any

SQL = Path(__file__).parent / "sql"
NAMES = re.compile(r"^CREATE OR REPLACE FUNCTION (\w+)\(", re.MULTILINE)


def sources() -> list[str]:
    """The texts of the files, in order of their names."""
    return [path.read_text(encoding="utf-8") for path in sorted(SQL.glob("*.sql"))]


def function_names() -> list[str]:
    return [name for text in sources() for name in NAMES.findall(text)]


def install_functions(apps: Any, schema_editor: Any) -> None:
    for text in sources():
        schema_editor.execute(text, params=None)


def remove_functions(apps: Any, schema_editor: Any) -> None:
    for name in function_names():
        schema_editor.execute(f"DROP FUNCTION IF EXISTS {name}", params=None)
