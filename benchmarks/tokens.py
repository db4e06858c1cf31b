"""Microseconds a token of generate(): the floor, replay, the live model, recording it.

    floor      generate() around a model whose forward returns one preallocated tensor
    replay     the recorded model, answering from the store
    live       a small Llama of random weights, without replaykit
    recording  the same Llama under a recording; what it took includes the flush that makes it durable

"full" is replay and recording at fidelity "full", with every step's logits asked for and given back. In each round
every subject generates once, on a prompt of that round's own. A figure is the median of the rounds, a ratio the median
of each round's ratio, so that what slows the machine down for a while slows both sides. A first round does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import torch
from machine import describe, machine, write_lines
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

import replaykit

SUBJECTS = ("floor", "replay", "replay full", "live", "recording", "recording full")
LOGITS = {"return_dict_in_generate": True, "output_logits": True}
RATIOS = {"replay": "floor", "replay full": "floor", "recording": "live", "recording full": "live"}
PROMPT_TOKENS = 16

EXAMPLES = """examples:
  python benchmarks/tokens.py
  python benchmarks/tokens.py --vocab 32000 --tokens 256 --rounds 9
  python benchmarks/tokens.py --json tokens.jsonl
"""


class Stub(LlamaForCausalLM):
    """Computes nothing: what a token costs with it is what transformers itself costs."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.answer = torch.randn(1, 1, config.vocab_size)

    def forward(self, input_ids: Any = None, past_key_values: Any = None, **kwargs: Any) -> CausalLMOutputWithPast:
        return CausalLMOutputWithPast(logits=self.answer, past_key_values=past_key_values)


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    facts = machine()
    print(f"{describe(facts)}\n{options.tokens} tokens a generation, {options.rounds} rounds, microseconds a token\n")
    columns = {}
    for vocabulary in options.vocab:
        for sampled in (False, True):
            print(f"measuring {vocabulary:,} {'sampled' if sampled else 'greedy'} ...", file=sys.stderr)
            columns[vocabulary, sampled] = summary(measure(vocabulary, sampled, options.tokens, options.rounds))
    print_table(columns)
    rows: list[dict[str, Any]] = [{"machine": facts, "tokens": options.tokens, "rounds": options.rounds}]
    for (vocabulary, sampled), figures in columns.items():
        rows += [{"vocabulary": vocabulary, "sampled": sampled, **figure} for figure in figures.values()]
    write_lines(options.json, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="new tokens a generation (default: 64)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds that count (default: 7)")
    parser.add_argument(
        "--vocab", type=int, nargs="+", default=[32_000, 152_000], metavar="V", help="default: 32000 152000"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of torch's (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, as lines of JSON")
    return parser.parse_args()


def measure(vocabulary: int, sampled: bool, tokens: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds a token, of each subject in each round."""
    taken: dict[str, list[float]] = {subject: [] for subject in SUBJECTS}
    with subjects(vocabulary) as programs:
        for number in range(rounds + 1):
            prompt = torch.full((1, PROMPT_TOKENS), number + 1)
            for subject in ("floor", "live", "recording", "replay", "recording full", "replay full"):
                model, finish = programs[subject]
                start = time.perf_counter()
                asked = LOGITS if subject.endswith("full") else {}
                output = model.generate(prompt, do_sample=sampled, max_new_tokens=tokens, **asked)
                finish()
                microseconds = 1e6 * (time.perf_counter() - start) / tokens
                sequences = output.sequences if asked else output
                assert sequences.shape[1] == PROMPT_TOKENS + tokens
                if number:
                    taken[subject].append(microseconds)
    return taken


@contextmanager
def subjects(vocabulary: int) -> Iterator[dict[str, tuple[Any, Callable[[], None]]]]:
    """Each subject's model, and what is to be done after it generated."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=None,  # so that every generation has the length it was asked for
        pad_token_id=0,
    )
    with tempfile.TemporaryDirectory(prefix="replaykit-bench-") as directory, ExitStack() as sessions:
        programs = {"floor": (Stub(config).eval(), nothing), "live": (LlamaForCausalLM(config).eval(), nothing)}
        for fidelity, suffix in (("auto", ""), ("full", " full")):
            settings: dict[str, Any] = {"store": Path(directory) / fidelity, "fidelity": fidelity}
            recording = sessions.enter_context(replaykit.session("tokens", mode="once", **settings))
            programs["recording" + suffix] = (
                recording.wrap(LlamaForCausalLM(config).eval(), name="llama"),
                recording.flush,
            )
            recording.flush()
            # Without a name any recording of the store may answer, also one that is still being made.
            replay = sessions.enter_context(replaykit.session(mode="strict", **settings))
            programs["replay" + suffix] = (replay.model("llama"), nothing)
        yield programs


def nothing() -> None:
    pass


def summary(taken: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Of each subject: its median, its ratio to what it is compared with, and every round's figure."""
    figures: dict[str, dict[str, Any]] = {}
    for subject, rounds in taken.items():
        figures[subject] = {"subject": subject, "us_per_token": round(statistics.median(rounds), 1)}
        if subject in RATIOS:
            pairs = zip(rounds, taken[RATIOS[subject]], strict=True)
            ratio = statistics.median(one / other for one, other in pairs)
            figures[subject] |= {"over": RATIOS[subject], "ratio": round(ratio, 3)}
        figures[subject]["rounds_us"] = [round(figure, 1) for figure in rounds]
    return figures


def print_table(columns: dict[tuple[int, bool], dict[str, dict[str, Any]]]) -> None:
    titles = (f"{vocabulary:,} {'sampled' if sampled else 'greedy'}" for vocabulary, sampled in columns)
    print(" " * 15 + "".join(f"{title:>20}" for title in titles))
    for subject in SUBJECTS:
        cells = [f"{subject:15}"]
        for figures in columns.values():
            figure = figures[subject]
            ratio = f"{figure['ratio']:.2f}x" if "ratio" in figure else ""
            cells.append(f"{figure['us_per_token']:>11,.0f}{ratio:>9}")
        print("".join(cells).rstrip())
    print("\nx: replay over the floor, recording over live")


if __name__ == "__main__":
    main()
