"""The program that is recorded: a streamed chat, and a sampling loop written by hand. It knows nothing of replaykit."""

from __future__ import annotations

from threading import Thread

import torch
from transformers import TextIteratorStreamer

QUESTIONS = ("Hello! My name is Mia.", "How do you say cat in Japanese?", "What is my name?")
OPENING = "Once upon a time"


def answer(tokenizer, model, messages):
    """One turn of a chat, sampled and streamed: its text as it arrives, and its tokens."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    sequences, errors = [], []

    def generate():
        try:
            sequences.append(model.generate(**prompt, streamer=streamer, do_sample=True, top_p=0.9, max_new_tokens=60))
        except Exception as error:
            errors.append(error)

    worker = Thread(target=generate)
    worker.start()
    chunks = list(streamer)
    worker.join()
    if errors:
        raise errors[0]
    return {"tokens": sequences[0][0, prompt["input_ids"].shape[1] :], "chunks": chunks}


def continue_text(tokenizer, model, pick, opening, count=60):
    """`count` tokens after `opening`, each from one forward call on the cache of the one before. Keeps the logits."""
    input_ids = tokenizer(opening, return_tensors="pt")["input_ids"]
    cache, tokens, logits = None, [], []
    with torch.no_grad():
        for _ in range(count):
            output = model(input_ids=input_ids, past_key_values=cache)
            cache = output.past_key_values
            input_ids = pick(output.logits[:, -1])
            logits.append(output.logits[0, -1])
            tokens.append(input_ids[0, 0])
    return {
        "tokens": torch.stack(tokens),
        "chunks": [tokenizer.decode(torch.stack(tokens), skip_special_tokens=True)],
        "logits": torch.stack(logits),
    }


def pick_token(logits):
    """Draw among the tokens that are at least a tenth as likely as the likeliest: from (1, V) to (1, 1)."""
    odds = torch.softmax(logits / 0.9, dim=-1)
    odds[odds < 0.1 * odds.max()] = 0
    return torch.multinomial(odds, 1)
