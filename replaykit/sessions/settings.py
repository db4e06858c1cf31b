"""Where a session's settings come from.

In order: the argument in code, the environment (REPLAYKIT_MODE, REPLAYKIT_STORE, REPLAYKIT_FIDELITY,
REPLAYKIT_REPOSITORY), `[tool.replaykit]` in the nearest pyproject.toml, the default. With CI set in the environment the
mode is strict unless an argument or REPLAYKIT_MODE says otherwise.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import UsageError
from .mode import Mode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FIDELITIES = ("auto", "full")
KNOWN = ("mode", "store", "fidelity", "repository")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session runs: its mode, its store, what of the logits is stored, and for which repository."""

    mode: Mode
    store: Path
    fidelity: str
    repository: str
    is_repository_given: bool = False

    @classmethod
    def resolve(
        cls,
        *,
        mode: str | Mode | None = None,
        store: str | os.PathLike[str] | None = None,
        fidelity: str | None = None,
        repository: str | None = None,
        environ: Mapping[str, str] = os.environ,
        directory: Path | None = None,
    ) -> Settings:
        """The settings in force in `directory` (the current one).

        Raises UsageError for a value that is none of those allowed, or an unknown key in `[tool.replaykit]`.
        """
        root, project = _project(directory or Path.cwd())
        mode = mode or environ.get("REPLAYKIT_MODE") or ("strict" if _in_ci(environ) else project.get("mode", "strict"))
        place = store or environ.get("REPLAYKIT_STORE") or _project_store(root, project) or _user_store()
        fidelity = fidelity or environ.get("REPLAYKIT_FIDELITY") or project.get("fidelity", "auto")
        if fidelity not in FIDELITIES:
            raise UsageError(f"there is no fidelity {fidelity!r}; the levels are {', '.join(FIDELITIES)}")
        given = repository or environ.get("REPLAYKIT_REPOSITORY") or project.get("repository")
        checked = checked_name("repository", given or _slug(root))
        return cls(Mode.parse(mode), Path(place).expanduser(), fidelity, checked, is_repository_given=bool(given))


def checked_name(what: str, name: str) -> str:
    """`name`, if it can name a recording or a repository in every store and remote. Raises UsageError if not."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{name!r} cannot name a {what}: use 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
        )
    return name


def _in_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false")


def _project(directory: Path) -> tuple[Path | None, dict[str, Any]]:
    """The nearest directory upwards that is a project's root, and its `[tool.replaykit]`."""
    for root in (directory, *directory.parents):
        pyproject = root / "pyproject.toml"
        if pyproject.is_file():
            return root, _read(pyproject)
        if (root / ".git").exists():
            return root, {}
    return None, {}


def _read(pyproject: Path) -> dict[str, Any]:
    try:
        tool = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
        table = tool.get("replaykit", {}) if isinstance(tool, dict) else tool
        if not isinstance(table, dict):
            raise UsageError(f"replaykit in [tool] of {pyproject} must be a table, not {table!r}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{pyproject} is not TOML: {error}") from error
    for key, value in table.items():
        if key not in KNOWN:
            raise UsageError(f"[tool.replaykit] in {pyproject} has no key {key!r}; the keys are {', '.join(KNOWN)}")
        if not isinstance(value, str):
            raise UsageError(f"[tool.replaykit] {key} in {pyproject} must be a string, not {value!r}")
    return table


def _project_store(root: Path | None, project: Mapping[str, Any]) -> Path | None:
    """A relative path in pyproject.toml is meant from there, not from the current directory."""
    return root / Path(project["store"]).expanduser() if root is not None and "store" in project else None


def _user_store() -> Path:
    return platformdirs.user_cache_path("replaykit", appauthor=False)


def _slug(root: Path | None) -> str:
    """The repository's default name: its root directory's, so that two repositories may use one recording's name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", root.name.lower() if root else "").strip("-._")
    return re.sub(r"\.{2,}", ".", name)[:64] or "local"
