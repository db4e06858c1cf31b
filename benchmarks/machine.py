"""Where figures were measured, and how they are kept: as lines of JSON, the machine first."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What a figure depends on beside the code."""
    import torch
    import transformers

    import replaykit

    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "replaykit": replaykit.__version__,
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def describe(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", "torch", "transformers", "replaykit"))
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads used; {versions}"


def write_lines(path: Path | None, rows: list[dict[str, Any]]) -> None:
    """Write each row as one line of JSON; nowhere if no path was given."""
    if path is not None:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
