"""What programs do with a decoder-only model and a fast tokenizer, one function each.

A scenario gets a tokenizer, a model and the session (None in the unrecorded run) and returns everything it observed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import threading
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
    set_seed,
)

Scenario = Callable[[Any, Any, Any], Any]
SCENARIOS: dict[str, Scenario] = {}
OPTIONS: dict[str, dict[str, Any]] = {}
"""What a scenario loads its model with, beside the source."""
FIDELITY: dict[str, str] = {}

PROMPT = "user: what colour is the sky today?"
SHORT = {"max_new_tokens": 12}


def scenario(name: str, *, fidelity: str = "auto", **options: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        OPTIONS[name] = options
        FIDELITY[name] = fidelity
        return function

    return register


def chat(tokenizer: Any, text: str = PROMPT) -> Any:
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )


@scenario("greedy")
def greedy(tokenizer, model, session):
    ids = chat(tokenizer)
    answer = model.generate(**ids, **SHORT)
    return ids, answer, tokenizer.decode(answer[0]), tokenizer.decode(answer[0], skip_special_tokens=True)


@scenario("sampled, seeded")
def sampled_seeded(tokenizer, model, session):
    answers = []
    for seed in (1, 2, 1):
        set_seed(seed)
        answers.append(model.generate(**chat(tokenizer), do_sample=True, **SHORT))
        answers.append(torch.rand(3))  # the program's own random numbers go on as they did
    return answers


@scenario("sampled, unseeded, three answers")
def sampled_unseeded(tokenizer, model, session):
    ids = chat(tokenizer)
    return [model.generate(**ids, do_sample=True, temperature=1.3, top_k=0, **SHORT) for _ in range(3)]


@scenario("sampled, three sequences, top-p")
def sampled_sequences(tokenizer, model, session):
    return model.generate(**chat(tokenizer), do_sample=True, top_p=0.9, num_return_sequences=3, **SHORT)


@scenario("beams")
def beams(tokenizer, model, session):
    return [
        model.generate(**chat(tokenizer), num_beams=4, num_return_sequences=2, **SHORT),
        model.generate(
            **chat(tokenizer),
            num_beams=3,
            length_penalty=0.7,
            early_stopping=True,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **SHORT,
        ),
    ]


@scenario("beam sampling")
def beam_sampling(tokenizer, model, session):
    return [
        model.generate(**chat(tokenizer), num_beams=3, do_sample=True, num_return_sequences=2, **SHORT),
        model.generate(
            **chat(tokenizer),
            num_beams=3,
            do_sample=True,
            return_dict_in_generate=True,
            output_scores=True,
            **SHORT,
        ),
    ]


@scenario("batch, left padded")
def left_padded(tokenizer, model, session):
    tokenizer.padding_side = "left"
    batch = tokenizer(
        ["user: hi", "user: tell me a story about a small dog and a red house"], return_tensors="pt", padding=True
    )
    answers = [model.generate(**batch, **SHORT), model.generate(**batch, do_sample=True, **SHORT)]
    answers.append(model.generate(**batch, num_beams=2, **SHORT))
    with torch.no_grad():
        return batch, answers, model(**batch).logits, tokenizer.batch_decode(answers[0], skip_special_tokens=True)


@scenario("text streamer")
def text_streamer(tokenizer, model, session):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        answer = model.generate(**chat(tokenizer), streamer=TextStreamer(tokenizer, skip_prompt=True), **SHORT)
    return answer, out.getvalue()


@scenario("text iterator streamer in a thread")
def iterator_streamer(tokenizer, model, session):
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60, skip_special_tokens=True)
    arguments = dict(chat(tokenizer), streamer=streamer, do_sample=True, max_new_tokens=24)
    thread = threading.Thread(target=model.generate, kwargs=arguments)
    thread.start()
    chunks = list(streamer)
    thread.join()
    return chunks


class Ban(LogitsProcessor):
    """Forbids one token."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.seen: list[torch.Tensor] = []

    def __call__(self, input_ids, scores):
        self.seen.append(scores.clone())
        scores = scores.clone()
        scores[:, self.token] = -float("inf")
        return scores


class StopAfter(StoppingCriteria):
    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids, scores, **kwargs):
        return torch.full((input_ids.shape[0],), input_ids.shape[1] >= self.length)


@scenario("own logits processors and stopping criteria")
def own_processors(tokenizer, model, session):
    ids = chat(tokenizer)
    length = ids["input_ids"].shape[1] + 6
    seen = []
    for options in ({}, {"do_sample": True}, {"num_beams": 2}):
        ban = Ban(260)
        answer = model.generate(
            **ids,
            logits_processor=LogitsProcessorList([ban]),
            stopping_criteria=StoppingCriteriaList([StopAfter(length)]),
            **options,
            **SHORT,
        )
        seen += [answer, ban.seen]
    seen.append(model.generate(**ids, stopping_criteria=StoppingCriteriaList([StopAfter(length)]), **SHORT))
    seen.append(model.generate(**ids, prefix_allowed_tokens_fn=lambda row, sent: [300, 301, 302 + len(sent)], **SHORT))
    return seen


@scenario("scores, logits, hidden states, attentions")
def everything_returned(tokenizer, model, session):
    witnesses = dict.fromkeys(("output_scores", "output_logits", "output_hidden_states", "output_attentions"), True)
    return [
        model.generate(
            **chat(tokenizer), return_dict_in_generate=True, repetition_penalty=1.3, **witnesses, **options, **SHORT
        )
        for options in ({}, {"do_sample": True, "temperature": 0.8})
    ]


@scenario("cache reused between generations")
def cache_reused(tokenizer, model, session):
    cache = DynamicCache(config=model.config)
    first = chat(tokenizer)
    answer = model.generate(**first, past_key_values=cache, **SHORT)
    longer = torch.cat([answer, torch.tensor([[300, 301, 302]])], dim=1)
    again = model.generate(longer, past_key_values=cache, do_sample=True, **SHORT)
    returned = model.generate(**first, return_dict_in_generate=True, **SHORT).past_key_values
    with torch.no_grad():
        step = model(torch.tensor([[303]]), past_key_values=returned)
    return answer, again, cache.get_seq_length(), returned.get_seq_length(), step.logits


@scenario("hand-written loop with a cache")
def hand_loop(tokenizer, model, session):
    ids = chat(tokenizer)["input_ids"]
    seen = []
    with torch.no_grad():
        out = model(input_ids=ids, use_cache=True)
        for _ in range(8):
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            seen += [out.logits, out.past_key_values.get_seq_length(), tokenizer.decode(token[0])]
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
    return seen


@scenario("hand-written loop without a cache")
def hand_loop_uncached(tokenizer, model, session):
    ids = chat(tokenizer)["input_ids"]
    seen = []
    with torch.no_grad():
        for _ in range(5):
            out = model(ids, use_cache=False)
            seen.append(out)
            ids = torch.cat([ids, out.logits[:, -1:].argmax(-1)], dim=1)
    return ids, seen


def pick_token(logits: torch.Tensor, temperature: float = 1.0) -> int:
    return int(torch.multinomial(torch.softmax(logits.float() / temperature, -1), 1))


@scenario("hand-written loop with the user's own sampler")
def own_sampler(tokenizer, model, session):
    sampler = session.sampler(pick_token) if session is not None else pick_token
    answers = []
    with torch.no_grad():
        for _ in range(2):
            out = model(chat(tokenizer)["input_ids"])
            answer = []
            for _ in range(8):
                answer.append(sampler(out.logits[0, -1], temperature=1.2))
                out = model(torch.tensor([[answer[-1]]]), past_key_values=out.past_key_values)
            answers.append(answer)
    return answers


@scenario("labels")
def labels(tokenizer, model, session):
    ids = chat(tokenizer)["input_ids"]
    with torch.no_grad():
        out = model(ids, labels=ids)
    return out.loss, out.logits


@scenario("hidden states and attentions of one call")
def hidden_states(tokenizer, model, session):
    with torch.no_grad():
        out = model(**chat(tokenizer), output_hidden_states=True, output_attentions=True)
        as_tuple = model(**chat(tokenizer), return_dict=False)
    return out.hidden_states, out.attentions, out.logits, as_tuple[0]


@scenario("forward called directly")
def forward_directly(tokenizer, model, session):
    with torch.no_grad():
        return model.forward(chat(tokenizer)["input_ids"]).logits


@scenario("crop back and go on otherwise")
def crop(tokenizer, model, session):
    ids = chat(tokenizer)["input_ids"]
    seen = []
    with torch.no_grad():
        cache = model(ids).past_key_values
        for question in ([300, 301], [302, 303, 304], [300, 301]):
            out = model(torch.tensor([question]), past_key_values=cache)
            seen += [out.logits, cache.get_seq_length()]
            cache.crop(-len(question))
        cache.crop(-3)
        seen.append(model(torch.tensor([[305]]), past_key_values=cache).logits)
    return seen


@scenario("prefix copied")
def deepcopied(tokenizer, model, session):
    seen = []
    with torch.no_grad():
        prefix = model(chat(tokenizer)["input_ids"]).past_key_values
        for question in ([300, 301], [302, 303, 304]):
            cache = copy.deepcopy(prefix)
            seen.append(model(torch.tensor([question]), past_key_values=cache).logits)
            seen.append(model(torch.tensor([[305]]), past_key_values=cache).logits)
    return seen, prefix.get_seq_length()


@scenario("rows reordered, selected, repeated; cache reset")
def rows(tokenizer, model, session):
    seen = []
    with torch.no_grad():
        ids = torch.tensor([[300, 301, 302], [303, 304, 305]])
        cache = model(ids).past_key_values
        cache.reorder_cache(torch.tensor([1, 0]))
        seen.append(model(torch.tensor([[306], [307]]), past_key_values=cache).logits)
        cache.batch_repeat_interleave(2)
        seen.append(model(torch.tensor([[308], [309], [310], [311]]), past_key_values=cache).logits)
        cache.batch_select_indices(torch.tensor([3, 0]))
        seen.append(model(torch.tensor([[312], [313]]), past_key_values=cache).logits)
        cache.batch_select_indices(torch.tensor([True, False]))
        seen.append(model(torch.tensor([[314]]), past_key_values=cache).logits)
        seen.append(cache.get_seq_length())
        cache.reset()
        seen.append(cache.get_seq_length())
        seen.append(model(torch.tensor([[315]]), past_key_values=cache).logits)
    return seen


@scenario("static cache made by the user")
def static_cache(tokenizer, model, session):
    cache = StaticCache(config=model.config, max_cache_len=64)
    answer = model.generate(**chat(tokenizer), past_key_values=cache, **SHORT)
    return answer, int(cache.get_seq_length())


@scenario("full fidelity", fidelity="full")
def full_fidelity(tokenizer, model, session):
    first = model.generate(**chat(tokenizer), do_sample=True, **SHORT)
    return first, model.generate(**chat(tokenizer), num_beams=2, **SHORT)


@scenario("bfloat16", dtype=torch.bfloat16)
def bfloat16(tokenizer, model, session):
    return [
        model.dtype,
        model.generate(**chat(tokenizer), do_sample=True, **SHORT),
        model.generate(**chat(tokenizer), output_logits=True, return_dict_in_generate=True, **SHORT).logits,
        hand_loop(tokenizer, model, session),
    ]


@scenario("cast by the program")
def cast(tokenizer, model, session):
    ids = chat(tokenizer)["input_ids"]
    with torch.no_grad():
        seen = [model(ids).logits]
        model = model.to(torch.bfloat16)
        seen += [model.dtype, model(ids).logits]
        model = model.float()
        seen += [model.dtype, model(ids).logits]
    return seen


@scenario("one-token prompt")
def one_token(tokenizer, model, session):
    ids = torch.tensor([[1]])
    with torch.no_grad():
        return model.generate(ids, **SHORT), model.generate(ids, do_sample=True, **SHORT), model(ids).logits


@scenario("inference mode")
def inference_mode(tokenizer, model, session):
    with torch.inference_mode():
        return hand_loop(tokenizer, model, session), model.generate(**chat(tokenizer), **SHORT)


@scenario("two conversations, interleaved token by token")
def interleaved(tokenizer, model, session):
    prompts = [chat(tokenizer, "user: hello")["input_ids"], chat(tokenizer)["input_ids"]]
    seen: list[Any] = []
    with torch.no_grad():
        outs = [model(ids) for ids in prompts]
        for _ in range(6):
            for index, out in enumerate(outs):
                token = out.logits[:, -1].argmax(-1, keepdim=True)
                seen.append(token)
                outs[index] = model(token, past_key_values=out.past_key_values)
    return seen, [out.logits for out in outs]


@scenario("two conversations in two threads")
def threads(tokenizer, model, session):
    answers: dict[str, Any] = {}

    def converse(text: str) -> None:
        ids = chat(tokenizer, text)
        answers[text] = model.generate(**ids, **SHORT), hand_loop(tokenizer, model, session)

    workers = [threading.Thread(target=converse, args=(text,)) for text in ("hello", "what is your name?")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [answers[text] for text in sorted(answers)]


@scenario("idioms")
def idioms(tokenizer, model, session):
    moved = model.to("cpu").eval()
    return [
        moved is model,
        str(model.device),
        model.dtype,
        next(model.parameters()).dtype,
        str(next(model.parameters()).device),
        model.num_parameters(),
        model.num_parameters(only_trainable=True, exclude_embeddings=True),
        type(model).__name__,
        type(model).__module__,
        isinstance(model, torch.nn.Module),
        model.config.to_dict() | {"_name_or_path": ""},
        model.generation_config.to_dict(),
        model.can_generate(),
        model.training,
        model.main_input_name,
        len(tokenizer),
        tokenizer.vocab_size,
        tokenizer.eos_token,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        tokenizer.all_special_tokens,
        tokenizer.all_special_ids,
        tokenizer.special_tokens_map,
        tokenizer.padding_side,
        tokenizer.model_max_length,
        tokenizer.is_fast,
        type(tokenizer).__name__,
    ]


@scenario("text calls of the tokenizer")
def text_calls(tokenizer, model, session):
    encoded = tokenizer("The sky is blue. Déjà vu, 天空 🙂!", return_offsets_mapping=True)
    seen: list[Any] = [encoded, encoded.word_ids(), encoded.tokens(), encoded.char_to_token(5), encoded.is_fast]
    seen.append(tokenizer(["one", "two words"], ["pair", "b"], padding=True, return_tensors="pt"))
    seen.append(tokenizer("cut me short please", truncation=True, max_length=3))
    seen.append(tokenizer.encode("hello", add_special_tokens=False))
    seen.append(tokenizer.tokenize("hello world"))
    seen.append(tokenizer.decode(encoded["input_ids"], skip_special_tokens=True))
    seen.append([tokenizer.decode(encoded["input_ids"][:n]) for n in range(1, len(encoded["input_ids"]))])
    seen.append(tokenizer.decode(torch.tensor([300, 301])))
    seen.append(tokenizer.batch_decode([[300], [301, 302]]))
    seen.append(tokenizer.pad([{"input_ids": [1, 2]}, {"input_ids": [3]}], return_tensors="pt"))
    seen.append(tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False))
    tokenizer.padding_side = "right"
    seen.append(tokenizer(["a", "b c d"], padding=True)["input_ids"])
    tokenizer.add_tokens(["<new>"])
    seen.append(tokenizer("a <new> b")["input_ids"])
    seen.append(len(tokenizer))
    for bad in (
        lambda: tokenizer.apply_chat_template([{"role": "user"}], chat_template="{{ raise_exception('no') }}"),
    ):
        try:
            bad()
        except Exception as error:
            seen.append((type(error).__name__, str(error)))
    return seen


@scenario("vocabulary questions")
def vocabulary(tokenizer, model, session):
    return [
        sorted(tokenizer.get_vocab().items()),
        tokenizer.convert_tokens_to_ids(["a", "<nonsense>"]),
        tokenizer.convert_ids_to_tokens([300, 301]),
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.get_added_vocab(),
    ]
