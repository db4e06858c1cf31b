"""Records a chat in one process; replays it in another, which has no model, and compares every bit.

    python docs/demo/demo.py

`chat.py` is the program that is recorded, `record.py` and `replay.py` are the two processes.
Exit status 1 if anything differs or what should happen did not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TINY_LM = HERE.parents[1] / "fixtures" / "tiny-lm"
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONUTF8": "1",  # the model speaks a little Japanese
}


def main():
    with tempfile.TemporaryDirectory(prefix="replaykit-demo-") as directory:
        model, store, notes = (Path(directory) / name for name in ("tiny-lm", "store", "notes.pt"))
        shutil.copytree(TINY_LM, model)

        print(f"One process records, with the model in {model} ({kilobytes(model)} KB):\n")
        run("record.py", directory, model, store, notes)

        shutil.rmtree(model)
        print(f"\nThe model is deleted. Another process replays, from the store alone ({kilobytes(store)} KB):\n")
        run("replay.py", directory, model, store, notes)


def run(script, directory, *arguments):
    """Run one of the two processes, in `directory`. Ends the demo if it fails."""
    sys.stdout.flush()
    command = [sys.executable, "-B", HERE / script, *arguments]
    process = subprocess.run(command, cwd=directory, env=os.environ | SETTINGS)
    if process.returncode:
        sys.exit(f"{script} failed")


def kilobytes(directory):
    return round(sum(path.stat().st_size for path in directory.rglob("*")) / 1000)


if __name__ == "__main__":
    main()
