"""Runs scenarios in a process of their own: `python -m tests.record_replay.run WHAT STORE SOURCE OUT [DEVICE]`.

WHAT is `record`, which runs each scenario unrecorded and recorded, from the same random state, or `replay`, which runs
it from the recording. Observations are pickled to OUT, never through replaykit.
"""

from __future__ import annotations

import copy
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import Cache

import replaykit

from .scenarios import FIDELITY, OPTIONS, SCENARIOS

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()


def main(what: str, store: str, source: str, out: str, device: str = "cpu") -> None:
    torch.set_default_device(device)
    seen: dict[str, Any] = {}
    for name in SCENARIOS:
        try:
            seen[name] = record(name, store, source) if what == "record" else replay(name, store, source)
        except Exception:
            seen[name] = traceback.format_exc()
    torch.save(seen, out)


def record(name: str, store: str, source: str) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, **OPTIONS[name])
    torch.manual_seed(7)
    states = random_states()
    plain = plain_data(SCENARIOS[name](tokenizer, model, None))
    set_random_states(states)
    with replaykit.session(slug(name), mode="once", store=store, fidelity=FIDELITY[name]) as session:
        tokenizer, model = session.load(source, **OPTIONS[name])
        recorded = plain_data(SCENARIOS[name](tokenizer, model, session))
    return {"plain": plain, "recorded": recorded}


def replay(name: str, store: str, source: str) -> dict[str, Any]:
    assert not Path(source).exists(), "the model must not be there"
    with replaykit.session(slug(name), mode="strict", store=store) as session:
        tokenizer, model = session.load(source, **OPTIONS[name])
        return {"replayed": plain_data(SCENARIOS[name](tokenizer, model, session)), "repr": repr(session)}


def random_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def set_random_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def plain_data(value: Any) -> Any:
    """A copy that pickles: caches stand as their length, outputs and encodings as lists of pairs."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Cache):
        return ("cache", type(value).__name__, int(value.get_seq_length()))
    if isinstance(value, (list, tuple)):
        return type(value)([plain_data(item) for item in value])
    if hasattr(value, "items"):
        return [(type(value).__name__, key, plain_data(item)) for key, item in value.items()]
    return copy.deepcopy(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
