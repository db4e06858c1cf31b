"""A room imports only from lower floors, those on one floor do not know each other, an outside library has one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "replaykit"

FLOORS = {
    "__main__": 9,
    "cli": 8,
    "pytest_plugin": 8,
    "hook": 7,
    "__init__": 7,  # the package's face: for programs, not for the rooms below it
    "load": 6,
    "record": 5,
    "replay": 5,
    "dummy": 5,
    "sessions": 4,
    "hf": 4,
    "sync": 4,
    "testing": 4,
    "calls": 3,
    "store": 3,
    "codec": 2,
    "digest": 1,
    "errors": 1,
}

DOORS = {
    "lmdb": {"store/environment.py"},
    "blake3": {"digest.py"},
    "cbor2": {"codec/cbor.py"},
}

TORCH = {"torch", "transformers", "tokenizers", "numpy", "safetensors"}
TORCH_ROOMS = {"hf", "record", "replay", "dummy", "load"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Every module that a file imports, anywhere in it, as its parts from the top."""
    inside = ("replaykit", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """The rooms of replaykit that a file imports."""
    inside = [parts for parts in imports(path) if parts[0] == "replaykit"]
    return {parts[1] if len(parts) > 1 and parts[1] in FLOORS else "__init__" for parts in inside}


def breaches(room: str, imported: set[str]) -> set[str]:
    """Which of the imported rooms this room must not know."""
    return {other for other in imported - {room} if FLOORS[other] >= FLOORS[room]}


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_lower_floors(path):
    assert breaches(room_of(path), rooms_imported(path)) == set()


@pytest.mark.parametrize(
    ("room", "imported", "forbidden"),
    [
        ("store", {"codec", "digest", "errors"}, set()),
        ("store", {"calls"}, {"calls"}),  # the same floor
        ("record", {"replay"}, {"replay"}),
        ("codec", {"sessions"}, {"sessions"}),  # a higher floor
        ("codec", {"digest"}, set()),
        ("digest", {"codec"}, {"codec"}),
        ("hf", {"__init__"}, {"__init__"}),  # the face is for programs
        ("cli", {"__init__", "sessions", "store"}, set()),
    ],
)
def test_a_breach_is_seen(room, imported, forbidden):
    assert breaches(room, imported) == forbidden


def test_imports_inside_functions_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_floors.PACKAGE", tmp_path)
    file = tmp_path / "store" / "objects.py"
    file.parent.mkdir()
    file.write_text("def f():\n    from ..calls import Call\n    from .. import hf\n    import lmdb.cffi\n")

    assert rooms_imported(file) == {"calls", "hf"}
    assert ("lmdb", "cffi") in set(imports(file))


@pytest.mark.parametrize("library", DOORS)
def test_an_outside_library_has_one_door(library):
    users = {str(path.relative_to(PACKAGE)) for path in FILES for parts in imports(path) if parts[0] == library}
    assert users <= DOORS[library]


def test_torch_stops_at_the_rooms_that_need_it():
    users = {room_of(path) for path in FILES for parts in imports(path) if parts[0] in TORCH}
    assert users <= TORCH_ROOMS
