"""Where settings come from, in order: the argument, the environment, pyproject.toml, the default; and CI."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs
import pytest

from replaykit.errors import UsageError
from replaykit.sessions import Mode, Settings
from replaykit.sessions.settings import checked_name


@pytest.fixture
def project(tmp_path) -> Path:
    root = tmp_path / "My Project"
    root.mkdir()
    return root


def write(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)


def resolve(project: Path, **more):
    return Settings.resolve(**{"environ": {}, "directory": project, **more})


def table(**values: str) -> str:
    return "[tool.replaykit]\n" + "".join(f'{name} = "{value}"\n' for name, value in values.items())


def test_the_defaults(project):
    (project / ".git").mkdir()

    assert resolve(project) == Settings(
        mode=Mode.STRICT,
        store=platformdirs.user_cache_path("replaykit", appauthor=False),
        fidelity="auto",
        repository="my-project",
    )


@pytest.mark.parametrize(
    ("setting", "in_file", "in_environment", "given"),
    [
        ("mode", "once", "new_episodes", "all"),
        ("fidelity", "full", "auto", "full"),
        ("repository", "file", "environment", "given"),
        ("store", "/file", "/environment", "/given"),
    ],
)
def test_the_order(project, setting, in_file, in_environment, given):
    def found(**more):
        value = getattr(resolve(project, **more), setting)
        return value.value if isinstance(value, Mode) else str(value)

    write(project, table(**{setting: in_file}))
    environ = {f"REPLAYKIT_{setting.upper()}": in_environment}

    assert found() == in_file
    assert found(environ=environ) == in_environment
    assert found(environ=environ, **{setting: given}) == given


@pytest.mark.parametrize(
    ("ci", "in_file", "in_environment", "given", "mode"),
    [
        ("true", None, None, None, Mode.STRICT),
        ("true", "once", None, None, Mode.STRICT),  # a developer's habit does not record on CI
        ("true", "once", "all", None, Mode.ALL),
        ("true", None, None, "once", Mode.ONCE),
        ("1", "once", None, None, Mode.STRICT),
        ("", "once", None, None, Mode.ONCE),
        ("false", "once", None, None, Mode.ONCE),
        ("0", "once", None, None, Mode.ONCE),
    ],
)
def test_ci_means_strict_unless_somebody_says_otherwise(project, ci, in_file, in_environment, given, mode):
    if in_file:
        write(project, table(mode=in_file))
    environ = {"CI": ci} | ({"REPLAYKIT_MODE": in_environment} if in_environment else {})

    assert resolve(project, environ=environ, mode=given).mode is mode


def test_an_empty_variable_says_nothing(project):
    environ = {"REPLAYKIT_MODE": "", "REPLAYKIT_STORE": "", "REPLAYKIT_FIDELITY": "", "REPLAYKIT_REPOSITORY": ""}

    assert resolve(project, environ=environ) == resolve(project)


def test_a_store_in_pyproject_is_meant_from_there(project):
    write(project, table(store="fixtures/store"))
    inside = project / "tests" / "deep"
    inside.mkdir(parents=True)

    assert resolve(inside).store == project / "fixtures" / "store"


def test_a_store_may_begin_with_the_home_directory(project):
    assert resolve(project, store="~/recordings").store == Path.home() / "recordings"


def test_the_nearest_project_counts(project):
    write(project, table(mode="all"))
    inner = project / "inner"
    inner.mkdir()
    write(inner, "[project]\nname = 'inner'\n")

    assert resolve(inner).mode is Mode.STRICT
    assert resolve(inner).repository == "inner"


def test_a_git_repository_ends_the_search(project):
    write(project, table(mode="all"))
    inner = project / "inner"
    (inner / ".git").mkdir(parents=True)

    assert resolve(inner).mode is Mode.STRICT


@pytest.mark.parametrize(
    ("directory", "repository"),
    [("My Project", "my-project"), ("a..b", "a.b"), ("-odd-", "odd"), ("世界", "local"), ("x" * 80, "x" * 64)],
)
def test_a_repository_is_named_after_its_directory(tmp_path, directory, repository):
    root = tmp_path / directory
    root.mkdir()
    write(root, "")

    assert resolve(root).repository == repository


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(mode="sometimes"), "there is no mode 'sometimes'"),
        (table(fidelity="some"), "there is no fidelity 'some'; the levels are auto, full"),
        (table(repository="Ours"), "'Ours' cannot name a repository"),
        (table(modus="once"), "has no key 'modus'; the keys are mode, store, fidelity, repository"),
        ("[tool.replaykit]\nmode = 3\n", "must be a string, not 3"),
        ("[tool.replaykit\n", "is not TOML"),
        ("[tool]\nreplaykit = 3\n", "must be a table, not 3"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(project, text, message):
    write(project, text)

    with pytest.raises(UsageError, match=re.escape(message)):
        resolve(project)


@pytest.mark.parametrize("name", ["a", "0", "test_summary", "a.b-c_d", "x" * 64])
def test_names_that_can_be(name):
    assert checked_name("recording", name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "_a", "a/b", "a..b", "a b", "ü", "x" * 65, "a\n", None])
def test_names_that_cannot_be(name):
    with pytest.raises(UsageError, match="cannot name a recording: use 1 to 64 of"):
        checked_name("recording", name)
