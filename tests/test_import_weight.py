"""What is light stays light: a new process that imports or runs it has not imported the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "lmdb")

REPORT = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"


def heavy_after(code: str) -> list[str]:
    """Which heavy libraries are imported in a new process after `code`."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True)
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


def test_sessions_need_no_torch():
    assert heavy_after("import replaykit.sessions") == ["lmdb"]


def test_the_public_session_is_the_function():
    code = "import replaykit, replaykit.load, replaykit.sessions; assert callable(replaykit.session)"
    assert "torch" in heavy_after(code)
