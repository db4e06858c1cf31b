"""Sources: the names a model or tokenizer may be known by, and the question that loading one is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..calls import Load
from .values import Values

WRAPPED = "wrap"
"""The loader of what the program loaded itself and named."""

# Where a model is put and how it is fetched does not change what is asked for.
_NOT_ASKED = frozenset(
    {
        "cache_dir",
        "device_map",
        "force_download",
        "local_files_only",
        "low_cpu_mem_usage",
        "max_memory",
        "offload_buffers",
        "offload_folder",
        "offload_state_dict",
        "output_loading_info",
        "proxies",
        "resume_download",
        "token",
        "trust_remote_code",
        "use_safetensors",
    }
)


def wrap_question(what: str, name: str) -> Load:
    """The load that stands for a `what` the program loaded itself and gave this name."""
    return Load(what, name, WRAPPED, {})


def load_questions(what: str, source: str | os.PathLike[str], loader: Any, options: dict[str, Any]) -> list[Load]:
    """The ways in which this load may have been recorded: by the source's name, or wrapped under it."""
    asked = {name: _option(value) for name, value in options.items() if name not in _NOT_ASKED and value is not None}
    if "torch_dtype" in asked:
        asked.setdefault("dtype", asked.pop("torch_dtype"))
    names = source_names(source)
    return [Load(what, name, loader.__name__, asked) for name in names] + [
        wrap_question(what, name) for name in names if not asked
    ]


def source_names(source: str | os.PathLike[str]) -> list[str]:
    """What a source may be known by, likeliest first.

    A hub id is known by itself; a local path by its last part, which does not depend on the machine. Whether
    "models/tiny" is the one or the other cannot be told once the directory is gone, so a replay tries both.
    """
    text = os.fspath(source)
    alias = Path(text).name or text
    if os.path.isabs(text):
        return [alias]
    is_hub_id = isinstance(source, str) and text.count("/") <= 1 and not text.startswith((".", "~"))
    is_path = os.path.isdir(text) or not is_hub_id
    return list(dict.fromkeys([alias, text] if is_path else [text, alias]))


def _option(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix("torch.")
    if hasattr(value, "to_dict"):
        return json.loads(json.dumps(value.to_dict(), default=str, sort_keys=True))
    plain = Values().plain(value)
    return plain["dtype"] if isinstance(plain, dict) and set(plain) == {"dtype"} else plain
