"""One recording asked in any order, by many at once, and many recordings in one store."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from transformers import StoppingCriteria, StoppingCriteriaList, set_seed

import replaykit

from .conftest import ids
from .test_scenarios import difference

ROOT = Path(__file__).parents[2]
QUESTIONS = [f"user: tell me about {thing}" for thing in ("dogs", "cats", "the sea", "bread", "rain", "music")]


def ask(tokenizer, model, number):
    """One question, answered in three ways; seeded, so that it may be asked in any order."""
    encoded = tokenizer(QUESTIONS[number], return_tensors="pt")
    set_seed(number)
    sampled = model.generate(**encoded, do_sample=True, max_new_tokens=10)
    beams = model.generate(**encoded, num_beams=2, max_new_tokens=6)
    with torch.no_grad():
        out = model(**encoded)
        step = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values)
    return sampled, beams, tokenizer.decode(sampled[0]), out.logits, step.logits


@pytest.fixture
def recorded(place):
    with place.record() as session:
        tokenizer, model = session.load(place.source)
        return {number: ask(tokenizer, model, number) for number in range(len(QUESTIONS))}


@pytest.mark.parametrize("shuffle", [1, 2])
def test_any_order_twice(place, recorded, shuffle):
    order = list(range(len(QUESTIONS))) * 2
    random.Random(shuffle).shuffle(order)
    with place.replay() as session:
        tokenizer, model = session.load(place.source)
        for number in order:
            assert difference(recorded[number], ask(tokenizer, model, number)) is None


def test_eight_threads_at_once(place, recorded):
    with place.replay() as session:
        tokenizer, model = session.load(place.source)
        orders = [random.Random(worker).sample(range(len(QUESTIONS)), len(QUESTIONS)) for worker in range(8)]

        def work(order):
            return [(number, ask(tokenizer, model, number)) for number in order]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for answers in pool.map(work, orders):
                for number, answer in answers:
                    assert difference(recorded[number], answer) is None


ASKING = """
import pickle, random, sys
import torch
import replaykit
from tests.record_replay.test_together import QUESTIONS, ask
store, worker = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
with replaykit.session("chat", mode="strict", store=store) as session:
    tokenizer, model = session.load("/nowhere/tiny-lm")
    order = random.Random(worker).sample(range(len(QUESTIONS)), len(QUESTIONS))
    sys.stdout.buffer.write(pickle.dumps({n: ask(tokenizer, model, n) for n in order}))
"""


def test_four_processes_at_once(place, recorded):
    shutil.rmtree(place.source)
    workers = [
        subprocess.Popen([sys.executable, "-c", ASKING, str(place.store), str(n)], cwd=ROOT, stdout=subprocess.PIPE)
        for n in range(4)
    ]
    for worker in workers:
        out, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0
        for number, answer in pickle.loads(out).items():
            assert difference(recorded[number], answer) is None


def test_two_threads_record_at_once(place):
    def converse(session, tokenizer, model, numbers):
        answers = {}
        for number in numbers:
            encoded = tokenizer(QUESTIONS[number], return_tensors="pt")
            answers[number] = model.generate(**encoded, max_new_tokens=10)
        return answers

    with place.record() as session:
        tokenizer, model = session.load(place.source)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            halves = pool.map(lambda n: converse(session, tokenizer, model, n), [range(3), range(3, 6)])
            spoken = {number: answer for half in halves for number, answer in half.items()}
    with place.replay() as session:
        tokenizer, model = session.load(place.source)
        again = converse(session, tokenizer, model, range(6))

    assert difference([spoken[n] for n in range(6)], [again[n] for n in range(6)]) is None


class TestSharedStore:
    def test_same_chat_twice_stores_its_objects_once(self, place):
        counts = []
        for name in ("first", "second", "third"):
            with place.record(name, mode="all") as session:
                tokenizer, model = session.load(place.source)
                for number in range(3):
                    ask(tokenizer, model, number)
                session.flush()
                recorded = session.recorded
                counts.append(session.store.stats().objects)
                if name == "first":
                    first_sealed = counts[0] + 2  # a leaf and a node

        assert recorded > 10
        assert counts[1] == first_sealed, "the second recording of the same chat adds no object"
        assert counts[2] == first_sealed

    def test_a_new_recording_asks_the_real_model(self, place):
        with place.record("first") as session:
            session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=4)
        with place.record("second") as session:
            session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=4)
            assert (session.replayed, session.recorded) == (0, 3)

    def test_each_recording_keeps_its_own_unseeded_answers(self, place):
        answers = {}
        for name in ("a", "b"):
            with place.record(name) as session:
                _, model = session.load(place.source)
                answers[name] = [
                    model.generate(ids(4, 300, 5), do_sample=True, temperature=2.0, max_new_tokens=12) for _ in range(2)
                ]
        assert difference(answers["a"], answers["b"]) is not None
        for name in ("b", "a"):
            with place.replay(name) as session:
                _, model = session.load(place.source)
                again = [
                    model.generate(ids(4, 300, 5), do_sample=True, temperature=2.0, max_new_tokens=12) for _ in range(2)
                ]
            assert difference(answers[name], again) is None


class TestModes:
    def test_once_replays_the_second_time(self, place):
        with place.record() as session:
            answer = session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=4)
            assert repr(session) == "<Session once chat: 0 replayed, 3 recorded>"
        shutil.rmtree(place.source)
        with place.record() as session, session.expect_misses():
            _, model = session.load(place.source)
            assert torch.equal(model.generate(ids(4, 300, 5), max_new_tokens=4), answer)
            with pytest.raises(replaykit.NotRecordedError):
                model.generate(ids(4, 301, 5), max_new_tokens=4)

    def test_new_episodes_loads_weights_at_the_first_new_key(self, place):
        with place.record() as session:
            tokenizer, model = session.load(place.source)
            known = model.generate(ids(4, 300, 5), max_new_tokens=4)
            text = tokenizer("hello")
        hidden = place.source.rename(place.path / "hidden")
        with place.record(mode="new_episodes") as session:
            tokenizer, model = session.load(place.source)
            assert torch.equal(model.generate(ids(4, 300, 5), max_new_tokens=4), known)
            assert tokenizer("hello") == text
            hidden.rename(place.source)  # now it is needed
            new = model.generate(ids(4, 301, 5), max_new_tokens=4)
            fresh = tokenizer("good-bye")
            assert session.recorded == 2
        with place.replay() as session:
            tokenizer, model = session.load(place.source)
            assert torch.equal(model.generate(ids(4, 300, 5), max_new_tokens=4), known)
            assert torch.equal(model.generate(ids(4, 301, 5), max_new_tokens=4), new)
            assert tokenizer("good-bye") == fresh

    @torch.no_grad()
    def test_new_episodes_goes_on_from_a_replayed_cache(self, place):
        prompt = ids(4, 300, 301, 302, 5)
        with place.record() as session:
            _, model = session.load(place.source)
            out = model(prompt)
            model(ids(303), past_key_values=out.past_key_values)
        with place.record(mode="all", name="live") as session:
            _, model = session.load(place.source)
            cache = model(prompt).past_key_values
            model(ids(303), past_key_values=cache)
            live = [model(ids(token), past_key_values=cache).logits for token in (304, 305)]
            cache.crop(-2)
            live.append(model(ids(306), past_key_values=cache).logits)
        with place.record(mode="new_episodes") as session:
            _, model = session.load(place.source)
            cache = model(prompt).past_key_values
            model(ids(303), past_key_values=cache)
            assert session.recorded == 0
            mixed = [model(ids(token), past_key_values=cache).logits for token in (304, 305)]
            cache.crop(-2)
            mixed.append(model(ids(306), past_key_values=cache).logits)
        assert difference(live, mixed) is None
        with place.replay() as session:
            _, model = session.load(place.source)
            cache = model(prompt).past_key_values
            model(ids(303), past_key_values=cache)
            again = [model(ids(token), past_key_values=cache).logits for token in (304, 305)]
        assert difference(live[:2], again) is None

    def test_new_episodes_records_a_longer_answer(self, place):
        options = {"do_sample": True, "eos_token_id": 1023}
        with place.record() as session:
            session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=4, **options)
        with place.record(mode="new_episodes") as session:
            longer = session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=9, **options)
        with place.replay() as session:
            assert torch.equal(
                session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=9, **options), longer
            )

    def test_all_records_afresh(self, place):
        for _ in range(2):
            with place.record(mode="all") as session:
                _, model = session.load(place.source)
                answer = model.generate(ids(4, 300, 5), do_sample=True, temperature=2.0, max_new_tokens=12)
                assert (session.replayed, session.recorded) == (0, 3)
        with place.replay() as session:
            _, model = session.load(place.source)
            assert torch.equal(
                model.generate(ids(4, 300, 5), do_sample=True, temperature=2.0, max_new_tokens=12), answer
            )


def test_wrapped_model_comes_back_by_name(place):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    real = AutoModelForCausalLM.from_pretrained(place.source)
    spoken = AutoTokenizer.from_pretrained(place.source)
    with place.record() as session:
        model, tokenizer = session.wrap(real, name="mine"), session.wrap(spoken, name="mine")
        assert model is real
        assert session.model("mine") is real
        answer = tokenizer.decode(model.generate(ids(4, 300, 5), max_new_tokens=4)[0])
    with place.replay() as session:
        model, tokenizer = session.model("mine"), session.tokenizer("mine")
        assert tokenizer.decode(model.generate(ids(4, 300, 5), max_new_tokens=4)[0]) == answer


class StopWith(StoppingCriteria):
    """Raises in the middle of a generation, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, input_ids, scores, **kwargs):
        self.after -= 1
        if not self.after:
            raise KeyboardInterrupt
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def test_aborted_generation_leaves_what_it_had(place):
    prompt, options = ids(4, 300, 5), {"eos_token_id": 1023}
    with place.record() as session:
        _, model = session.load(place.source)
        with pytest.raises(KeyboardInterrupt):
            model.generate(
                prompt,
                stopping_criteria=StoppingCriteriaList([StopWith(4)]),
                max_new_tokens=12,
                do_sample=True,
                **options,
            )
        whole = model.generate(prompt, max_new_tokens=6, **options)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        assert model.generate(prompt, max_new_tokens=3, do_sample=True, **options).shape == (1, 6)
        session.seeds.begin(0)
        assert torch.equal(model.generate(prompt, max_new_tokens=6, **options), whole)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(replaykit.NotRecordedError, match="broken off at token 4"):
            model.generate(prompt, max_new_tokens=6, do_sample=True, **options)


RECORDING = """
import sys, time
import torch
import replaykit
torch.set_num_threads(1)
store, source = sys.argv[1:]
with replaykit.session("chat", mode="once", store=store) as session:
    tokenizer, model = session.load(source)
    for number in range(10_000):
        tokenizer(f"question {number}")
        model.generate(torch.tensor([[4, 300 + number % 50, 5]]), max_new_tokens=2 + number // 50)
        if number % 10 == 0:
            session.flush()
            print(number, flush=True)
"""


def test_killed_recorder_keeps_what_was_flushed(place):
    worker = subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(place.store), str(place.source)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert worker.stdout is not None
    flushed = 0
    for line in worker.stdout:
        flushed = int(line)
        if flushed >= 40:
            break
    worker.kill()
    worker.wait()
    with place.replay() as session:
        tokenizer, model = session.load(place.source)
        for number in range(flushed + 1):
            assert tokenizer(f"question {number}")["input_ids"]
            answer = model.generate(torch.tensor([[4, 300 + number % 50, 5]]), max_new_tokens=2 + number // 50)
            assert answer.shape[1] > 3


def test_forked_child_replays(place, recorded):
    with place.replay() as session:
        tokenizer, model = session.load(place.source)
        ask(tokenizer, model, 0)
        child = os.fork()
        if not child:
            same = all(difference(recorded[n], ask(tokenizer, model, n)) is None for n in range(3))
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert difference(recorded[1], ask(tokenizer, model, 1)) is None


def test_source_is_known_from_any_directory(place, monkeypatch):
    """A local path is known by its last part, wherever it lies; a relative one also as it was written."""
    (place.path / "here").mkdir()
    monkeypatch.chdir(place.path / "here")
    place.source = place.source.rename(place.path / "here" / "tiny-lm")
    with place.record() as session:
        text = session.tokenizer("../here/tiny-lm")("hello")
    with place.replay() as session, session.expect_misses():
        for source in ("tiny-lm", "./tiny-lm", "../here/tiny-lm", "/elsewhere/tiny-lm", Path("tiny-lm")):
            assert session.tokenizer(source)("hello") == text
        with pytest.raises(replaykit.NotRecordedError):
            session.tokenizer("somebody/tiny-lm")  # a hub id, for all one can tell


def test_threads_count_their_own_seeds(place):
    """Two threads that seed for themselves each get the first answer since their seed."""
    with place.record() as session:
        _, model = session.load(place.source)
        set_seed(5)
        answer = model.generate(ids(4, 300, 5), do_sample=True, max_new_tokens=6)
    with place.replay() as session:
        _, model = session.load(place.source)
        barrier = threading.Barrier(4)

        def work(_):
            set_seed(5)
            barrier.wait(timeout=60)
            return model.generate(ids(4, 300, 5), do_sample=True, max_new_tokens=6)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert all(torch.equal(answer, again) for again in pool.map(work, range(4)))


@torch.no_grad()
def test_new_episodes_refuses_a_conversation_the_model_would_have_gone_otherwise(place):
    """The weights are the recorded ones, but another machine computes other bits: the cache cannot be rebuilt."""
    with place.record() as session:
        _, model = session.load(place.source)
        model(ids(4, 300, 301, 5))
    with place.record(mode="new_episodes") as session:
        _, model = session.load(place.source)
        cache = model(ids(4, 300, 301, 5)).past_key_values
        real = model.__dict__["_replaykit"].live()
        real.lm_head.register_forward_hook(lambda module, args, output: output + 1e-3)
        with session.expect_misses(), pytest.raises(replaykit.LineageError, match="otherwise than it is recorded"):
            model(ids(302), past_key_values=cache)


def test_encoding_of_a_replayed_call_can_be_copied(place):
    import copy

    with place.record() as session:
        session.tokenizer(place.source)("hello world")
    with place.replay() as session:
        encoded = session.tokenizer(place.source)("hello world")
        copied = pickle.loads(pickle.dumps(copy.deepcopy(encoded)))
    assert copied.tokens() == encoded.tokens()


GOING_ON = """
import os, sys
import torch
import replaykit
torch.set_num_threads(1)
store, source, mode = sys.argv[1:]
session = replaykit.session("chat", mode=mode, store=store)
model = session.model(source)
for number in range(3):
    model.generate(torch.tensor([[4, 310 + number, 5]]), do_sample=True, max_new_tokens=3)
session.flush()
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("mode", ["once", "new_episodes", "all"])
def test_flushed_episodes_outlive_a_kill(place, mode):
    if mode != "once":
        with place.record() as session:
            session.load(place.source)[1].generate(ids(4, 300, 5), max_new_tokens=3)
    command = [sys.executable, "-c", GOING_ON, str(place.store), str(place.source), mode]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    with place.record() as session, session.expect_misses():  # whoever opens the store to write takes it up
        model = session.model(place.source)
        with pytest.raises(replaykit.NotRecordedError) as miss:
            model.generate(ids(4, 399, 5), max_new_tokens=3)
        assert ("note" in miss.value.facts) is (mode == "once")
    with place.replay() as session:
        model = session.model(place.source)
        for number in range(3):
            assert model.generate(ids(4, 310 + number, 5), do_sample=True, max_new_tokens=3).shape[1] > 3
        if mode != "once":
            assert model.generate(ids(4, 300, 5), max_new_tokens=3).shape[1] > 3
