"""Microseconds of each part of a replayed step, and what share of the whole step that is.

The step is one of a loop written by hand over model(...) on a KV cache, the logits of one token read back from the
store. Where a part has a plainer alternative, it is measured beside it: "over" says how many times that it takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import cbor2
import lmdb
import torch
from machine import describe, machine, write_lines
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache

import replaykit
from replaykit.calls import Call, Lineage, ModelStep, Outcome
from replaykit.hf.caches import state_of
from replaykit.hf.steps import read_step
from replaykit.hf.values import python_value

STEPS = 50
CALLS = 200

EXAMPLES = """examples:
  python benchmarks/steps.py
  python benchmarks/steps.py --vocab 152000 --json steps.jsonl
"""


@dataclass
class Part:
    """One part of a step, and the plainer thing it is held against."""

    name: str
    program: Callable[[], Any]
    plainer_name: str = ""
    plainer: Callable[[], Any] | None = None


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    facts = machine()
    print(f"{describe(facts)}\nmedian of {options.rounds} rounds, microseconds\n")
    rows: list[dict[str, Any]] = [{"machine": facts, "rounds": options.rounds}]
    for vocabulary in options.vocab:
        with parts_of_a_step(vocabulary) as parts:
            figures = measure(parts, options.rounds)
        print_table(vocabulary, figures)
        rows += [{"vocabulary": vocabulary, **figure} for figure in figures]
    write_lines(options.json, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="rounds of 200 calls (default: 9)")
    parser.add_argument(
        "--vocab", type=int, nargs="+", default=[32_000, 152_000], metavar="V", help="default: 32000 152000"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, as lines of JSON")
    return parser.parse_args()


@contextmanager
def parts_of_a_step(vocabulary: int) -> Iterator[list[Part]]:
    """Record a loop, replay it, and take its last step apart."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with tempfile.TemporaryDirectory(prefix="replaykit-bench-") as directory:
        store, plain = Path(directory) / "store", Path(directory) / "plain"
        plain.mkdir()
        with replaykit.session("steps", mode="once", store=store) as session:
            loop(session.wrap(LlamaForCausalLM(config).eval(), name="llama"))
        with (
            replaykit.session("steps", mode="strict", store=store) as session,
            lmdb.open(str(plain), map_size=1 << 24) as environment,
        ):
            yield take_apart(session, session.model("llama"), environment)


@torch.no_grad()
def loop(model: Any, steps: int = STEPS) -> DynamicCache:
    """`steps` forward calls of one token each, on one cache."""
    cache = DynamicCache(config=model.config)
    for step in range(steps):
        model(input_ids=torch.tensor([[step]]), past_key_values=cache)
    return cache


def take_apart(session: Any, model: Any, environment: lmdb.Environment) -> list[Part]:
    cache = loop(model, STEPS - 1)
    identity = model.__dict__["_replaykit"].identity
    arguments = {"input_ids": torch.tensor([[STEPS - 1]]), "past_key_values": cache}
    call = read_step(model, identity, (), arguments, replayed=True).call
    rows = state_of(cache).lineage.rows
    store, key = session.store, call.key
    (row,) = store.rows(key)
    item = store.get(row.outcome)
    (logits,) = (store.get(digest) for digest in item.refs)
    outcome = Outcome.from_object(item, lambda digest: logits)
    tensor = python_value(outcome.value, fetch=store.get, new_cache=lambda path: cache).logits
    with environment.begin(write=True) as transaction:
        transaction.put(b"small", bytes(len(item.payload)))
        transaction.put(b"large", bytes(len(logits.payload)))

    def fresh() -> ModelStep:
        return ModelStep(call.identity, call.inputs, call.lineage, call.cache)

    def plain_get(name: bytes) -> bytes:
        with environment.begin() as transaction:
            return transaction.get(name)

    return [
        Part("the whole step", lambda: loop(model)),
        Part("arguments to a call", lambda: read_step(model, identity, (), arguments, replayed=True)),
        Part("key, packed by hand", lambda: fresh().key, "plain spec", lambda: Call.object.func(fresh()).digest),
        Part("row of the index", lambda: store.rows(key), "LMDB get", lambda: plain_get(b"small")),
        Part("outcome object", lambda: store.get(row.outcome), "LMDB get", lambda: plain_get(b"small")),
        Part("logits object", lambda: store.get(logits.digest), "LMDB get", lambda: plain_get(b"large")),
        Part(
            "outcome decoded",
            lambda: Outcome.from_object(item, lambda digest: logits),
            "cbor2.loads",
            lambda: cbor2.loads(item.payload),
        ),
        Part(
            "outcome to tensors",
            lambda: python_value(outcome.value, fetch=store.get, new_cache=lambda path: cache),
            "clone",
            tensor.clone,
        ),
        Part("lineage lengthened", lambda: Lineage(rows, STEPS - 1).advance(key, 1, 1, call)),
    ]


def measure(parts: list[Part], rounds: int) -> list[dict[str, Any]]:
    """Each part's median, its share of the first, which is the whole, and its ratio to what is plainer."""
    taken: dict[str, list[float]] = {part.name: [] for part in parts}
    plainer: dict[str, list[float]] = {part.name: [] for part in parts}
    for _ in range(rounds):
        for part in parts:
            whole = part is parts[0]
            taken[part.name].append(microseconds(part.program, 1 if whole else CALLS) / (STEPS if whole else 1))
            if part.plainer is not None:
                plainer[part.name].append(microseconds(part.plainer, CALLS))
    whole_us = statistics.median(taken[parts[0].name])
    figures = []
    for part in parts:
        us = statistics.median(taken[part.name])
        figure: dict[str, Any] = {"part": part.name, "us": round(us, 2), "share": round(us / whole_us, 3)}
        if part.plainer is not None:
            pairs = zip(taken[part.name], plainer[part.name], strict=True)
            ratio = statistics.median(one / other for one, other in pairs)
            figure |= {"over": part.plainer_name, "ratio": round(ratio, 3)}
        figures.append(figure)
    return figures


def microseconds(program: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return 1e6 * (time.perf_counter() - start) / calls


def print_table(vocabulary: int, figures: list[dict[str, Any]]) -> None:
    print(f"{f'vocabulary {vocabulary:,}':22}{'us':>8}{'share':>8}    over")
    for figure in figures:
        over = f"{figure['ratio']:6.2f}x {figure['over']}" if "ratio" in figure else ""
        print(f"{figure['part']:22}{figure['us']:8.1f}{figure['share']:8.0%}  {over}".rstrip())
    print()


if __name__ == "__main__":
    main()
