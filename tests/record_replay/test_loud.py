"""What was not recorded is refused, each time by an error of its own, and never answered by a guess."""

from __future__ import annotations

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, LogitsProcessor, LogitsProcessorList, TextIteratorStreamer

from replaykit import (
    DivergenceError,
    FidelityError,
    IdentityError,
    LineageError,
    MissError,
    NondeterminismError,
    NotRecordedError,
    RecordingNotFoundError,
    UnsupportedError,
    UsageError,
)

from .conftest import ids

PROMPT = ids(4, 300, 301, 302, 5)
SHORT = {"max_new_tokens": 6}


class Shift(LogitsProcessor):
    """Favours one token by so much."""

    def __init__(self, token: int, by: float) -> None:
        self.token, self.by = token, by

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, self.token] += self.by
        return scores


def shifted(token: int, by: float = 50.0) -> LogitsProcessorList:
    return LogitsProcessorList([Shift(token, by)])


def test_unseen_prompt(place):
    with place.record() as session:
        tokenizer, model = session.load(place.source)
        tokenizer("the sky is blue")
        model.generate(PROMPT, **SHORT)
    with place.replay() as session, session.expect_misses():
        tokenizer, model = session.load(place.source)
        with pytest.raises(NotRecordedError) as text:
            tokenizer("the sky is green")
        with pytest.raises(NotRecordedError) as generation:
            model.generate(ids(4, 300, 301, 303, 5), **SHORT)
        with pytest.raises(NotRecordedError) as step:
            model(PROMPT)

    assert text.value.call.arguments["text"] == "the sky is green"
    assert text.value.recording.startswith("chat (")
    assert "'the sky is blue" in text.value.nearest
    assert "differs at element 3" in generation.value.nearest
    assert "new_episodes" in str(step.value)


def test_unseen_seed(place):
    with place.record() as session:
        _, model = session.load(place.source)
        torch.manual_seed(1)
        model.generate(PROMPT, do_sample=True, **SHORT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        torch.manual_seed(2)
        with pytest.raises(NotRecordedError, match="seed differs: 2 here, 1 recorded"):
            model.generate(PROMPT, do_sample=True, **SHORT)


def test_changed_temperature(place):
    with place.record() as session:
        _, model = session.load(place.source)
        model.generate(PROMPT, do_sample=True, temperature=0.7, **SHORT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(NotRecordedError, match=r"config\.temperature differs: 0\.9 here, 0\.7 recorded"):
            model.generate(PROMPT, do_sample=True, temperature=0.9, **SHORT)


@pytest.mark.parametrize("options", [{}, {"do_sample": True}, {"num_beams": 2}], ids=["greedy", "sampled", "beams"])
def test_changed_processor(place, options):
    with place.record() as session:
        _, model = session.load(place.source)
        model.generate(PROMPT, logits_processor=shifted(300), **options, **SHORT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(DivergenceError) as divergence:
            model.generate(PROMPT, logits_processor=shifted(301), **options, **SHORT)
        assert divergence.value.expected is not None
        assert divergence.value.actual is not None


def test_processor_changed_a_little(place):
    with place.record() as session:
        _, model = session.load(place.source)
        model.generate(PROMPT, logits_processor=shifted(300, 1.0), do_sample=True, top_k=0, **SHORT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(DivergenceError):
            model.generate(PROMPT, logits_processor=shifted(300, 1.01), do_sample=True, top_k=0, **SHORT)


def test_processor_that_was_not_there(place):
    with place.record() as session:
        _, model = session.load(place.source)
        model.generate(PROMPT, **SHORT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(NotRecordedError, match="processors"):
            model.generate(PROMPT, logits_processor=shifted(300), **SHORT)


def test_longer_than_recorded(place):
    with place.record() as session:
        _, model = session.load(place.source)
        recorded = model.generate(PROMPT, max_new_tokens=6, eos_token_id=1023)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        shorter = model.generate(PROMPT, max_new_tokens=4, eos_token_id=1023)
        with pytest.raises(NotRecordedError, match="ends at token 6") as miss:
            model.generate(PROMPT, max_new_tokens=9, eos_token_id=1023)

    assert torch.equal(shorter, recorded[:, :-2])
    assert miss.value.facts["recorded_tokens"] == 6


def test_fourth_of_three_unseeded_answers(place):
    with place.record() as session:
        _, model = session.load(place.source)
        recorded = [model.generate(PROMPT, do_sample=True, **SHORT) for _ in range(3)]
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        replayed = [model.generate(PROMPT, do_sample=True, **SHORT) for _ in range(3)]
        with pytest.raises(NotRecordedError, match="occurrence differs: 3 here, 2 recorded"):
            model.generate(PROMPT, do_sample=True, **SHORT)

    assert all(torch.equal(a, b) for a, b in zip(recorded, replayed, strict=True))


def test_logits_that_were_not_stored(place):
    with place.record() as session:
        _, model = session.load(place.source)
        model.generate(PROMPT, **SHORT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(FidelityError) as error:
            model.generate(PROMPT, output_logits=True, return_dict_in_generate=True, **SHORT)

    assert error.value.level == "full"


class TestCacheEditedByHand:
    @pytest.fixture
    def filled(self, place):
        with place.record() as session, session.expect_misses():
            _, model = session.load(place.source)
            with torch.no_grad():
                yield model, model(PROMPT).past_key_values

    def test_shortened(self, filled):
        model, cache = filled
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :3], layer.values[:, :, :3]
        with pytest.raises(LineageError):
            model(ids(300), past_key_values=cache)

    def test_written_in_place(self, filled):
        model, cache = filled
        cache.layers[0].values[0, 0, 0, 0] += 1
        with pytest.raises(LineageError, match="edited by hand"):
            model(ids(300), past_key_values=cache)

    def test_replaced(self, filled):
        model, cache = filled
        cache.layers[1].keys = cache.layers[1].keys.clone()
        with pytest.raises(LineageError, match="edited by hand"):
            model.generate(PROMPT, past_key_values=cache, **SHORT)

    def test_copied_and_written(self, filled):
        import copy

        model, cache = filled
        copied = copy.deepcopy(cache)
        model(ids(300), past_key_values=copy.deepcopy(cache))
        copied.layers[0].keys.mul_(2)
        with pytest.raises(LineageError, match="edited by hand"):
            model(ids(300), past_key_values=copied)


def test_cache_filled_elsewhere(place):
    other = AutoModelForCausalLM.from_pretrained(place.source)
    with torch.no_grad():
        cache = other(PROMPT).past_key_values
    with place.record() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(LineageError, match="did not see"):
            model(ids(300), past_key_values=cache)


def test_replayed_cache_filled_by_hand(place):
    with place.record() as session:
        _, model = session.load(place.source)
        with torch.no_grad():
            model(PROMPT)
    with place.replay() as session, session.expect_misses():
        _, model = session.load(place.source)
        cache = model(PROMPT).past_key_values
        with pytest.raises(LineageError):
            cache.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4), 0)
        cache.layers[0].keys = torch.zeros(1, 2, 1, 4)
        with pytest.raises(LineageError):
            model(ids(300), past_key_values=cache)


def test_weights_changed_since_they_were_loaded(place):
    with place.record() as session, session.expect_misses():
        _, model = session.load(place.source)
        with torch.no_grad():
            next(model.parameters()).mul_(2)
            with pytest.raises(IdentityError):
                model.generate(PROMPT, **SHORT)
            with pytest.raises(IdentityError):
                model(PROMPT)


def test_another_model_under_the_same_name(place):
    with place.record() as session:
        session.wrap(AutoModelForCausalLM.from_pretrained(place.source), name="mine").generate(PROMPT, **SHORT)
    other = AutoModelForCausalLM.from_pretrained(place.source)
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    with place.replay() as session, session.expect_misses(), pytest.raises(IdentityError):
        session.wrap(other, name="mine")


def test_two_answers_and_no_recording_to_choose(place):
    for name in ("a", "b"):
        with place.record(name) as session:
            _, model = session.load(place.source)
            torch.manual_seed({"a": 3, "b": 4}[name])
            session.seeds.begin(0)
            model.generate(PROMPT, do_sample=True, temperature=3.0, max_new_tokens=20)
    with place.replay("a") as session:
        _, model = session.load(place.source)
        session.seeds.begin(0)
        model.generate(PROMPT, do_sample=True, temperature=3.0, max_new_tokens=20)
    with place.replay(None) as session, session.expect_misses():
        _, model = session.load("tiny-lm")
        session.seeds.begin(0)
        with pytest.raises(NondeterminismError):
            model.generate(PROMPT, do_sample=True, temperature=3.0, max_new_tokens=20)


def test_recording_that_is_not_there(place):
    with place.record("greeting") as session:
        session.tokenizer(place.source)("hello")
    with pytest.raises(RecordingNotFoundError, match="greeting"):
        place.replay("greetings")


def test_store_that_is_not_there(place):
    with pytest.raises(RecordingNotFoundError, match="no store"):
        place.replay()
    assert not place.store.exists()


def test_source_that_was_not_recorded(place):
    with place.record() as session:
        session.tokenizer(place.source)("hello")
    with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError):
        session.model(place.source)


class TestMissInAThread:
    """A generation thread dies of a miss: whoever reads its stream is not left waiting, and the miss is not lost."""

    def test_stream_ends_and_session_fails(self, place):
        with place.record() as session:
            tokenizer, _ = session.load(place.source)
            tokenizer.decode([300])
        with pytest.raises(MissError), place.replay() as session:
            tokenizer, model = session.load(place.source)
            streamer = TextIteratorStreamer(tokenizer, timeout=30)
            thread = threading.Thread(target=self.swallow, args=(model, streamer))
            thread.start()
            assert "".join(streamer) == ""
            thread.join()
            assert repr(session).endswith("missed>")

    def swallow(self, model, streamer):
        try:
            model.generate(PROMPT, streamer=streamer, **SHORT)
        except Exception:
            return  # as an application's thread would

    def test_stream_ends_when_the_recording_does(self, place):
        with place.record() as session:
            tokenizer, model = session.load(place.source)
            streamer = TextIteratorStreamer(tokenizer, timeout=30)
            model.generate(PROMPT, streamer=streamer, max_new_tokens=5, eos_token_id=1023)
            recorded = list(streamer)
        with pytest.raises(MissError), place.replay() as session:
            tokenizer, model = session.load(place.source)
            streamer = TextIteratorStreamer(tokenizer, timeout=30)
            arguments = {"streamer": streamer, "max_new_tokens": 15, "eos_token_id": 1023}
            thread = threading.Thread(target=self.swallow_all, args=(model, arguments))
            thread.start()
            assert "".join(recorded).startswith("".join(streamer))
            thread.join()

    def swallow_all(self, model, arguments):
        try:
            model.generate(PROMPT, **arguments)
        except Exception:
            return


def test_swallowed_miss_fails_the_session(place):
    with place.record() as session:
        session.tokenizer(place.source)("hello")
    with pytest.raises(NotRecordedError, match="tokenizer call"), place.replay() as session:
        tokenizer = session.tokenizer(place.source)
        try:
            tokenizer("good-bye")
        except LookupError:
            pass  # an application that hides it


def test_what_cannot_be_told_by_its_content_is_not_recorded(place):
    with place.record() as session, session.expect_misses():
        tokenizer, model = session.load(place.source)
        with pytest.raises(UnsupportedError, match="object"):
            tokenizer(object())
        with pytest.raises(UnsupportedError):
            model(PROMPT, past_key_values=((torch.zeros(1), torch.zeros(1)),))


def test_replayed_model_has_no_weights_to_give(place):
    with place.record() as session:
        session.load(place.source)
    with place.replay() as session:
        _, model = session.load(place.source)
        with pytest.raises(UnsupportedError):
            model.state_dict()
        with pytest.raises(UnsupportedError):
            model.save_pretrained(place.path)


def test_closed_session(place):
    with place.record() as session:
        _, recorded = session.load(place.source)
        before = recorded.generate(PROMPT, **SHORT)
    assert torch.equal(recorded.generate(PROMPT, **SHORT), before), "the real model goes on without its session"
    with place.replay() as session:
        _, model = session.load(place.source)
    with pytest.raises(UsageError, match="closed"):
        model.generate(PROMPT, **SHORT)


def test_unknown_cache_kind(place):
    class Homemade(DynamicCache):
        pass

    with place.record() as session, session.expect_misses():
        _, model = session.load(place.source)
        with pytest.raises(UnsupportedError, match="Homemade"):
            model(PROMPT, past_key_values=Homemade())
