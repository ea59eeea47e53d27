"""The listing of the device's folder says where a change belongs: rooms are named, few modules stand loose."""

import ast
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DEVICE = ROOT / "device" / "fnrbc_device"
ROOMS_WITH_SQL = {"journal", "sessions"}
STATEMENTS = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "PRAGMA ", "ATTACH ")


def layers() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(contract["layers"] for contract in contracts if contract["type"] == "layers")


def rooms() -> set[str]:
    return {path.parent.name for path in DEVICE.glob("*/__init__.py")}


def loose_modules() -> set[str]:
    return {path.stem for path in DEVICE.glob("*.py")} - {"__init__"}


def texts_in(path: Path) -> list[str]:
    """Every text of a module that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
    ]


def test_every_room_and_every_loose_module_is_named_in_the_layers_and_nothing_else_is():
    assert sorted(rooms() | loose_modules()) == sorted(layers())


def test_the_map_of_the_house_names_every_room():
    said = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [room for room in sorted(rooms()) if f"| `{room}/` |" not in said] == []


def test_few_modules_stand_loose():
    assert len(loose_modules()) <= 10


def test_python_code_stands_in_named_rooms_alone():
    outside = [path for path in DEVICE.rglob("*.py") if not (path.parent / "__init__.py").is_file()]
    assert outside == []


def test_every_room_opens_with_a_sentence_that_says_what_is_in_it():
    for room in rooms():
        said = ast.get_docstring(ast.parse((DEVICE / room / "__init__.py").read_text(encoding="utf-8")))
        assert said, room
        assert said.splitlines()[0].endswith("."), room


def test_sql_is_written_where_the_record_is_kept_and_where_sessions_are_read_and_nowhere_else():
    others = [path for path in DEVICE.rglob("*.py") if path.relative_to(DEVICE).parts[0] not in ROOMS_WITH_SQL]
    found = {
        str(path.relative_to(DEVICE))
        for path in others
        if any(t.lstrip().startswith(STATEMENTS) for t in texts_in(path))
    }
    assert found == set()
