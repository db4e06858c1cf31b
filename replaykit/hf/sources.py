"""Sources: the names a model or tokenizer may be known by, and the question that loading one is."""

from __future__ import annotations

import json
import os
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
    """The ways in which this load may have been recorded, likeliest first: by the source's names, or wrapped."""
    asked = {name: _option(value) for name, value in options.items() if name not in _NOT_ASKED and value is not None}
    if "torch_dtype" in asked:
        asked.setdefault("dtype", asked.pop("torch_dtype"))
    loads = [Load(what, name, loader.__name__, asked) for name in source_names(source)]
    wrapped = [wrap_question(what, source)] if isinstance(source, str) and not asked else []
    return wrapped + loads if os.sep not in os.fspath(source) else loads + wrapped


def source_names(source: str | os.PathLike[str]) -> list[str]:
    """What a source may be known by, likeliest first: a hub id by itself, a local path by its last part.

    The last part depends on no machine. Whether "models/tiny" is a hub id or a path cannot be told once the directory
    is gone: both are tried, and the last part only counts where the path was `written` so when it was recorded.
    """
    text = written(source)
    last = os.path.basename(text) or text
    return [last] if _is_local(text) else list(dict.fromkeys([text, last]))


def written(source: str | os.PathLike[str]) -> str:
    """A source as the program wrote it, but for "./", "..", "~" and doubled slashes."""
    return os.path.normpath(os.path.expanduser(os.fspath(source)))


def means(question: Load, source: str | os.PathLike[str], facts: dict[str, Any]) -> bool:
    """Whether a recorded load, known by a last part perhaps, is the one that `source` means."""
    text = written(source)
    return question.loader == WRAPPED or question.source == text or _is_local(text) or facts["written"] == text


def _is_local(text: str) -> bool:
    return os.path.isabs(text) or os.path.isdir(text)


def _option(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix("torch.")
    if hasattr(value, "to_dict"):
        return json.loads(json.dumps(value.to_dict(), default=str, sort_keys=True))
    plain = Values().plain(value)
    return plain["dtype"] if isinstance(plain, dict) and set(plain) == {"dtype"} else plain
