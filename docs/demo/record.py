"""The first process: runs each part as it is and then under a recording, and notes what it saw in a file of its own.

Run by `demo.py` as: python record.py MODEL_DIRECTORY STORE NOTES
"""

from __future__ import annotations

import sys
import textwrap

import torch
from chat import OPENING, QUESTIONS, answer, continue_text, pick_token
from seen import differences, timed
from transformers import AutoModelForCausalLM, AutoTokenizer

import replaykit


def main(source, store, notes):
    torch.set_num_threads(1)
    live = AutoTokenizer.from_pretrained(source), AutoModelForCausalLM.from_pretrained(source)
    answer(*live, [{"role": "user", "content": "Good morning!"}])  # the first answer of a process takes longer
    parts = {}

    with replaykit.session("demo", mode="once", store=store) as session:
        recorded = session.load(source)
        pick = session.sampler(pick_token)

        messages = []
        for number, question in enumerate(QUESTIONS, start=1):
            messages.append({"role": "user", "content": question})
            part = run_both(session, answer, (*live, messages), (*recorded, messages))
            parts[f"turn {number}"] = part | {"messages": list(messages)}
            messages.append({"role": "assistant", "content": "".join(part["seen"]["chunks"])})
        part = run_both(session, continue_text, (*live, pick_token, OPENING), (*recorded, pick, OPENING))
        parts["own loop"] = part | {"opening": OPENING}

    for message in messages:
        show(message["role"], message["content"])
    show("own loop", OPENING + parts["own loop"]["seen"]["chunks"][0])
    torch.save(parts, notes)
    return [f"{name}: recording changed the {what}" for name, part in parts.items() for what in part["changed"]]


def show(who, text):
    print(textwrap.fill(f"  {who:13} {text}", width=110, subsequent_indent=" " * 16))


def run_both(session, program, live, recorded):
    """What `program` saw while it was recorded, and whether without replaykit it saw the same.

    Both runs draw from the same state of the random generator. Nothing is seeded.
    """
    state = torch.get_rng_state()
    expected, live_ms = timed(program, *live)
    torch.set_rng_state(state)
    before = stored_bytes(session)
    seen, recording_ms = timed(program, *recorded)
    return {
        "seen": seen,
        "live_ms": live_ms,
        "recording_ms": recording_ms,
        "stored_bytes": stored_bytes(session) - before,
        "changed": differences(expected, seen),
    }


def stored_bytes(session):
    """What the store takes on disk."""
    session.flush()
    return session.store.stats().size_bytes


if __name__ == "__main__":
    sys.exit("\n".join(main(*sys.argv[1:])) or 0)
