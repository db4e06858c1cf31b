"""The documentation runs, and names everything there is."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import replaykit
from replaykit import errors
from replaykit.cli import main
from replaykit.cli.exits import EXIT_CODES
from replaykit.sessions import Mode, settings

from .test_floors import FLOORS, PACKAGE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REFERENCE = {path.stem: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}
ERRORS = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "fixtures" / "README.md"]

AWAY = "<!-- without the model -->\n"


def blocks(text: str) -> list[tuple[bool, str]]:
    """The Python blocks of a page, in order; whether the model may be there, and the code."""
    return [(not away, code) for away, code in re.findall(rf"({AWAY})?```python\n(.*?)```", text, re.DOTALL)]


class Reader:
    """Somebody who types what a page says, in a directory with the fixtures the pages speak of."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.model = directory / "fixtures" / "tiny-lm"

    def run(self, code: str, *, model: bool) -> str:
        """What the code prints in a process of its own."""
        shutil.rmtree(self.model, ignore_errors=True)
        if model:
            shutil.copytree(ROOT / "fixtures" / "tiny-lm", self.model)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REPLAYKIT_")}
        environment |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.directory, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


GREET = blocks(README)[0][1]


@pytest.fixture(scope="module")
def greeted(tmp_path_factory) -> tuple[Reader, list[str]]:
    """A reader who ran the README's program once, and what it printed."""
    reader = Reader(tmp_path_factory.mktemp("greeted"))
    return reader, reader.run(GREET, model=True).splitlines()


class TestCode:
    def test_the_readme_records_once_and_replays_without_the_model(self, greeted):
        reader, first = greeted

        again = reader.run(GREET, model=False).splitlines()

        assert again[:-1] == first[:-1]
        shown = [line for line in README.splitlines() if line.startswith("<Session")]
        assert [first[-1], again[-1]] == shown

    def test_the_quickstart_runs(self, tmp_path):
        reader = Reader(tmp_path)
        for _ in range(2):  # a reader may begin again
            for model, code in blocks((ROOT / "docs" / "quickstart.md").read_text()):
                reader.run(code, model=model)

    def test_the_miss_in_the_readme_is_what_a_reader_sees(self, greeted):
        reader, _ = greeted
        other = GREET.replace("Mia", "Max")
        caught = f"import replaykit\ntry:\n{indented(other)}\nexcept replaykit.MissError as miss:\n    print(miss)"

        told = reader.run(caught, model=False).splitlines()

        shown = re.search(r"^```\n(NotRecordedError: .*?)^```", README, re.DOTALL | re.MULTILINE)
        assert shown
        assert [line.replace(str(reader.directory), "...") for line in told] == (
            shown[1].removeprefix("NotRecordedError: ").splitlines()
        )

    def test_the_first_python_stands_on_the_first_screen(self):
        assert README.splitlines().index("```python") < 10


def indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())


class TestReference:
    @pytest.mark.parametrize("name", replaykit.__all__)
    def test_every_public_name_is_described(self, name):
        assert name in REFERENCE["api"] + REFERENCE["errors"]

    @pytest.mark.parametrize("argument", inspect.signature(replaykit.session).parameters)
    def test_every_argument_of_session_is_described(self, argument):
        assert f"| `{argument}` |" in REFERENCE["api"]

    def test_every_method_that_gives_something_out_is_described(self):
        methods = {name for name in vars(replaykit.ModelSession) if not name.startswith("_")}
        assert {name for name in methods if f"| `{name}(" not in REFERENCE["api"]} == set()

    def test_every_described_method_is_there(self, tmp_path):
        described = re.findall(
            r"^\| ((?:`\w+[^|]*`(?:, )?)+) \|", REFERENCE["api"].partition("ModelSession`\n")[2], re.M
        )
        names = {name for cell in described[:20] for name in re.findall(r"`(\w+)", cell)} - {"auto", "full"}
        with replaykit.session("empty", mode="once", store=tmp_path / "store") as session:
            assert {name for name in names if not hasattr(session, name)} == set()
        assert {"load", "flush", "expect_misses", "misses", "closed"} <= names

    @pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
    def test_every_error_is_described_with_its_kind(self, cls):
        assert f"| `{cls.__name__}` | `{cls.kind}` |" in REFERENCE["errors"]

    def test_the_tree_is_that_of_the_code(self):
        (drawn,) = re.findall(r"    (ReplaykitError +.*?)\n\n", errors.__doc__ or "", re.DOTALL)
        assert re.sub(r"^    ", "", drawn, flags=re.MULTILINE) in REFERENCE["errors"]

    @pytest.mark.parametrize("mode", Mode)
    def test_every_mode_is_described_everywhere(self, mode):
        row = next(line for line in README.splitlines() if re.match(rf"\| `{mode.value}`( \(default\))? \|", line))
        assert row in (ROOT / "docs" / "understanding" / "modes.md").read_text()
        assert f"`{mode.value}`" in REFERENCE["settings"]
        assert f'`"{mode.value}"`' in REFERENCE["api"]

    @pytest.mark.parametrize("setting", settings.KNOWN)
    def test_every_setting_is_described(self, setting):
        assert f"| {setting} | `{setting}=` | `REPLAYKIT_{setting.upper()}` | `{setting}` |" in REFERENCE["settings"]

    @pytest.mark.parametrize("level", settings.FIDELITIES)
    def test_every_fidelity_is_described(self, level):
        assert f"| `{level}`" in REFERENCE["api"]
        assert f"`{level}`" in REFERENCE["settings"]

    @pytest.mark.parametrize("name", main.commands)
    def test_every_command_and_option_is_described(self, name):
        section = REFERENCE["cli"].partition(f"## `replaykit {name}")[2].partition("\n## ")[0]
        assert section, f"no section for {name}"
        for parameter in main.commands[name].params:
            if isinstance(parameter, click.Option):
                assert all(f"`{option}" in section for option in parameter.opts)
            else:
                assert parameter.human_readable_name in section
        assert main.commands[name].help

    def test_every_exit_code_is_described(self):
        for family, code in EXIT_CODES.items():
            assert f"| {code} | `{family.__name__}` |" in REFERENCE["cli"]

    def test_every_fixture_is_described(self):
        described = (ROOT / "fixtures" / "README.md").read_text()
        kept = [path.name for path in (ROOT / "fixtures").iterdir() if not path.name.startswith((".", "__"))]
        assert [name for name in kept if name not in described and name != "README.md"] == []


class TestPages:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_links_lead_somewhere(self, page):
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        assert [target for target in targets if not (page.parent / target).exists()] == []

    @pytest.mark.parametrize("room", [room for room in FLOORS if room != "__main__"])
    def test_every_room_stands_on_its_floor_in_the_drawing(self, room):
        if not (PACKAGE / room).is_dir() and not (PACKAGE / f"{room}.py").exists():
            pytest.skip("a room that is planned")
        drawing = re.search(r"```\n(8  .*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
        assert drawing
        floors, floor = {}, 0
        for line in drawing[1].splitlines():
            floor = int(line[0]) if line[0].isdigit() else floor
            floors |= dict.fromkeys(line[1:16].split(), floor)  # a caption stands behind each name
        assert floors[room] == FLOORS[room]

    def test_every_design_note_says_the_same_five_things(self):
        for note in (ROOT / "docs" / "design").glob("*.md"):
            text = note.read_text()
            assert re.match(r"\d{4}-\d\d-[a-z0-9-]+$", note.stem)
            for heading in ("Problem", "What we do", "What we do not", "What it costs", "How we would notice"):
                assert f"**{heading}" in text, f"{note.name} does not say {heading!r}"
