"""What is light stays light: a new process that imports or runs it has not imported the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "lmdb")

REPORT = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"


def heavy_after(code: str, **environment: str) -> list[str]:
    """Which heavy libraries are imported in a new process after `code`."""
    command = [sys.executable, "-c", f"{code}\n{REPORT}"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "code",
    [
        "import replaykit",
        "import replaykit; replaykit.ReplaykitError('no').kind",
        "import replaykit; dir(replaykit); replaykit.__version__",
        "import replaykit.errors, replaykit.digest, replaykit.codec, replaykit.calls",
    ],
)
def test_is_light(code):
    assert heavy_after(code) == []


@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["show", "greeting"], ["info"]], ids=" ".join)
def test_the_command_line_needs_no_torch(arguments, tmp_path):
    code = f"""
from replaykit.cli import main
from replaykit.store import Store
Store.open({str(tmp_path)!r}).close()
try:
    main({arguments!r})
except SystemExit:
    pass
"""
    assert heavy_after(code, REPLAYKIT_STORE=str(tmp_path)) == ["lmdb"]


def test_sessions_need_no_torch():
    assert heavy_after("import replaykit.sessions") == ["lmdb"]


def test_the_public_session_is_the_function():
    code = "import replaykit, replaykit.load, replaykit.sessions; assert callable(replaykit.session)"
    assert "torch" in heavy_after(code)
