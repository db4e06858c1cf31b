"""The second process: replays the parts in another order and compares them with what the first process noted.

Run by `demo.py` as: python replay.py MODEL_DIRECTORY STORE NOTES
"""

from __future__ import annotations

import os
import sys
import textwrap

import torch
from chat import answer, continue_text
from seen import differences, timed
from transformers import AutoModelForCausalLM

import replaykit

ORDER = ("turn 3", "own loop", "turn 1", "turn 2")
UNSEEN = [{"role": "user", "content": "What is the capital of France?"}]


def main(source, store, notes):
    torch.set_num_threads(1)
    parts = torch.load(notes)
    problems = []

    try:
        AutoModelForCausalLM.from_pretrained(source)
        problems.append("the model can still be loaded, so nothing is proved")
    except OSError:
        print(f"  transformers  cannot load {source}: there is {'something' if os.path.exists(source) else 'nothing'}")

    with replaykit.session("demo", mode="strict", store=store) as session:
        tokenizer, model = session.load(source)
        print(f"  replaykit     a {type(model).__name__} of {model.num_parameters():,} parameters, and no weights")
        pick = session.sampler(never_asked, name="pick_token")

        for name in ORDER:
            part = parts[name]
            if "messages" in part:
                seen, part["replay_ms"] = timed(answer, tokenizer, model, part["messages"])
            else:
                seen, part["replay_ms"] = timed(continue_text, tokenizer, model, pick, part["opening"])
            part["differ"] = differences(part["seen"], seen)
            problems += [f"{name}: replay gives other {what}" for what in part["differ"]]
        print(f"  order         {', '.join(ORDER)}\n")
        print_table(parts)

        print(f"\nAn unseen prompt, {UNSEEN[0]['content']!r}:\n")
        with session.expect_misses() as misses:
            try:
                answer(tokenizer, model, UNSEEN)
            except replaykit.NotRecordedError as error:
                print(textwrap.indent(f"{type(error).__name__}: {error}", "  "))
        if len(misses) != 1:
            problems.append(f"an unseen prompt was refused {len(misses)} times, not once")
        if session.recorded:
            problems.append(f"a session that may only replay recorded {session.recorded} calls")
    return problems


def never_asked(logits):
    raise AssertionError("the sampler's choices are recorded, so nobody asks the sampler itself")


def print_table(parts):
    print("  part        tokens   live ms   recording ms   replay ms   bytes/token   identical")
    for name, part in parts.items():
        tokens = len(part["seen"]["tokens"])
        verdict = f"NO, not the {', '.join(part['differ'])}" if part["differ"] else f"yes: {', '.join(part['seen'])}"
        print(
            f"  {name:10} {tokens:7} {part['live_ms']:9.0f} {part['recording_ms']:14.0f} {part['replay_ms']:11.0f}"
            f" {part['stored_bytes'] / tokens:13,.0f}   {verdict}"
        )


if __name__ == "__main__":
    sys.exit("\n".join(main(*sys.argv[1:])) or 0)
