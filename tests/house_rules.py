"""What no tool checks for us, read from the syntax tree. tests/unit/test_house_rules.py runs it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tokenmix_site", "gateway", "catalog", "billing", "accounts")
MONEY = (
    "billing/**/*.py",
    "catalog/pricing.py",
    "gateway/purse.py",
    "gateway/settlement.py",
)
FILE_WALL = 500
FUNCTION_WALL = 70


def sources() -> list[Path]:
    """Every module of the product but its migrations."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(path for path in found if "migrations" not in path.parts)


def money_sources() -> list[Path]:
    """The modules through which amounts pass, migrations included."""
    return sorted({path for pattern in MONEY for path in ROOT.glob(pattern)})


def too_long(text: str) -> Iterator[str]:
    """Say where a file or a function passes its wall."""
    lines = len(text.splitlines())
    if lines > FILE_WALL:
        yield f"the file has {lines} lines, the wall is {FILE_WALL}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_WALL:
                yield f"{node.name} has {length} lines, the wall is {FUNCTION_WALL}"


def inexact(text: str) -> Iterator[str]:
    """Say where code makes a float or a DecimalField. A duration (a name in _s) may be a float."""
    tree = ast.parse(text)
    durations = set(_durations(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float()) if node not in durations:
                yield f"line {node.lineno}: the float {node.value}"
            case ast.Call(func=ast.Name(id="float")):
                yield f"line {node.lineno}: float(…)"
            case ast.Name(id="DecimalField" | "FloatField" as name):
                yield f"line {node.lineno}: {name}"
            case ast.Attribute(attr="DecimalField" | "FloatField" as name):
                yield f"line {node.lineno}: {name}"
            case ast.BinOp(op=ast.Div()) if not (_is_path(node) or _is_duration(node.left)):
                yield f"line {node.lineno}: a division by /, which makes a float of integers"


def _durations(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.keyword(arg=str(name), value=value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ) if name.lower().endswith(("_s", "timeout")) and value is not None:
                yield from ast.walk(value)


def _is_duration(node: ast.expr) -> bool:
    name = getattr(node, "id", getattr(node, "attr", ""))
    return str(name).lower().endswith("_s")


def _is_path(node: ast.BinOp) -> bool:
    """Whether it joins paths: one side is a string, as in `folder / "name.sql"`."""
    return any(
        isinstance(side, ast.Constant | ast.JoinedStr)
        and not isinstance(getattr(side, "value", ""), int)
        for side in (node.left, node.right)
    )
