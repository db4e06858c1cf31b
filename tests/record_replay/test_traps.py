"""Questions that look alike and are not: each is answered exactly or refused, never by the other's answer."""

from __future__ import annotations

import copy
import functools
import threading

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

import replaykit
from replaykit import IdentityError, LineageError, MissError, NotRecordedError, UnsupportedError, UsageError

from .conftest import ids
from .test_scenarios import difference

PROMPT = ids(4, 300, 301, 302, 5)
PAIR = torch.tensor([[4, 300, 301, 5], [4, 302, 303, 5]])
ENDLESS = {"eos_token_id": 1023, "pad_token_id": 0}

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def plain_model(place):
    return AutoModelForCausalLM.from_pretrained(place.source)


class StopRow(StoppingCriteria):
    """Ends one row at a length."""

    def __init__(self, row: int, length: int) -> None:
        self.row, self.length = row, length

    def __call__(self, input_ids, scores, **kwargs):
        done = torch.zeros(input_ids.shape[0], dtype=torch.bool)
        done[self.row] = input_ids.shape[1] >= self.length
        return done


class TestLimits:
    @pytest.mark.parametrize("early_stopping", [False, True])
    @pytest.mark.parametrize("limit", [3, 5, 8])
    def test_shorter_beams_are_the_live_ones(self, place, early_stopping, limit):
        options = {"num_beams": 4, "num_return_sequences": 2, "early_stopping": early_stopping, **ENDLESS}
        live = plain_model(place).generate(PROMPT, max_new_tokens=limit, **options)
        with place.record() as session:
            session.load(place.source)[1].generate(PROMPT, max_new_tokens=14, **options)
        with place.replay() as session:
            assert torch.equal(session.load(place.source)[1].generate(PROMPT, max_new_tokens=limit, **options), live)

    def test_beams_at_two_limits_in_one_recording(self, place):
        with place.record() as session:
            _, model = session.load(place.source)
            answers = [model.generate(PROMPT, num_beams=3, max_new_tokens=n, **ENDLESS) for n in (12, 5)]
        with place.replay() as session:
            _, model = session.load(place.source)
            again = [model.generate(PROMPT, num_beams=3, max_new_tokens=n, **ENDLESS) for n in (12, 5)]
        assert difference(answers, again) is None

    def test_longer_beams_are_refused(self, place):
        with place.record() as session:
            session.load(place.source)[1].generate(PROMPT, num_beams=3, max_new_tokens=5, **ENDLESS)
        with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError):
            session.load(place.source)[1].generate(PROMPT, num_beams=3, max_new_tokens=9, **ENDLESS)

    def test_rows_that_end_otherwise_are_refused(self, place):
        stop = StoppingCriteriaList([StopRow(0, 7)])
        with place.record() as session:
            _, model = session.load(place.source)
            answer = model.generate(PAIR, stopping_criteria=stop, max_new_tokens=10, **ENDLESS)
        with place.replay() as session, session.expect_misses():
            _, model = session.load(place.source)
            assert torch.equal(model.generate(PAIR, stopping_criteria=stop, max_new_tokens=10, **ENDLESS), answer)
            with pytest.raises(NotRecordedError, match="its rows end otherwise"):
                model.generate(PAIR, max_new_tokens=10, **ENDLESS)

    def test_a_forced_last_token_depends_on_the_limit(self, place):
        with place.record() as session:
            session.load(place.source)[1].generate(PROMPT, forced_eos_token_id=1000, max_new_tokens=10, **ENDLESS)
        with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError):
            session.load(place.source)[1].generate(PROMPT, forced_eos_token_id=1000, max_new_tokens=5, **ENDLESS)

    def test_a_generation_ended_by_the_clock_ends_there_again(self, place):
        options = {"max_time": 0.05, "max_new_tokens": 450, **ENDLESS}
        with place.record() as session:
            answer = session.load(place.source)[1].generate(PROMPT, **options)
        assert answer.shape[1] < 400
        with place.replay() as session:
            assert torch.equal(session.load(place.source)[1].generate(PROMPT, **options), answer)

    def test_long_without_logits_and_short_with(self, place):
        def both(model):
            return (
                model.generate(PROMPT, max_new_tokens=12, **ENDLESS),
                model.generate(
                    PROMPT, max_new_tokens=6, output_scores=True, return_dict_in_generate=True, **ENDLESS
                ).scores,
            )

        with place.record() as session:
            answers = both(session.load(place.source)[1])
        with place.replay() as session:
            assert difference(answers, both(session.load(place.source)[1])) is None


class TestQuestionsThatLookAlike:
    def test_negative_prompt(self, place):
        with place.record() as session:
            _, model = session.load(place.source)
            model.generate(PROMPT, guidance_scale=2.5, negative_prompt_ids=ids(4, 310, 5), max_new_tokens=4)
        with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError):
            _, model = session.load(place.source)
            model.generate(PROMPT, guidance_scale=2.5, negative_prompt_ids=ids(4, 320, 5), max_new_tokens=4)

    def test_mask_of_another_length(self, place):
        def ask(model):
            cache = model(PROMPT).past_key_values
            masked = model(ids(303), past_key_values=copy.deepcopy(cache), attention_mask=torch.ones(1, 1).long())
            return masked.logits, model(ids(303), past_key_values=cache).logits

        live = ask(plain_model(place))
        with place.record() as session:
            ask(session.load(place.source)[1])
        with place.replay() as session:
            assert difference(live, ask(session.load(place.source)[1])) is None

    def test_positions_that_are_broadcast(self, place):
        with place.record() as session:
            session.load(place.source)[1](PROMPT)
        with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError):
            session.load(place.source)[1](PROMPT, position_ids=torch.tensor([[0]]))

    def test_autocast_and_attention(self, place):
        def ask(model):
            plain = model(PROMPT).logits
            with torch.autocast("cpu", dtype=torch.bfloat16):
                cast = model(PROMPT).logits
            model.set_attn_implementation("eager")
            return plain, cast, model(PROMPT).logits

        with place.record() as session:
            answers = ask(session.load(place.source)[1])
        with place.replay() as session:
            assert difference(answers, ask(session.load(place.source)[1])) is None

    def test_every_way_to_cast(self, place):
        def ask(model):
            return model(PROMPT).logits, model.type(torch.bfloat16)(PROMPT).logits, model.double()(PROMPT).logits

        with place.record() as session:
            answers = ask(session.load(place.source)[1])
        with place.replay() as session:
            assert difference(answers, ask(session.load(place.source)[1])) is None

    def test_seed_set_behind_our_back(self, place):
        quiet = torch.default_generator.manual_seed  # as a name imported from torch before is
        with place.record() as session:
            _, model = session.load(place.source)
            quiet(91_001)
            answer = model.generate(PROMPT, do_sample=True, max_new_tokens=6, **ENDLESS)
        with place.replay() as session, session.expect_misses():
            _, model = session.load(place.source)
            torch.manual_seed(91_002)
            with pytest.raises(NotRecordedError):
                model.generate(PROMPT, do_sample=True, max_new_tokens=6, **ENDLESS)
            torch.manual_seed(91_001)
            assert torch.equal(model.generate(PROMPT, do_sample=True, max_new_tokens=6, **ENDLESS), answer)

    def test_another_recordings_drawn_answers(self, place):
        for name, count in (("a", 3), ("b", 4)):
            with place.record(name) as session:
                _, model = session.load(place.source)
                for _ in range(count):
                    model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS)
        with place.replay("a") as session, session.expect_misses():
            _, model = session.load(place.source)
            for _ in range(3):
                model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS)
            with pytest.raises(NotRecordedError):
                model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS)

    def test_another_recordings_plain_answers_will_do(self, place):
        for name, text in (("a", "hello"), ("b", "good-bye")):
            with place.record(name) as session:
                session.tokenizer(place.source)(text)
        with place.replay("a") as session:
            assert session.tokenizer(place.source)("good-bye")["input_ids"]

    def test_samplers_of_one_name(self, place):
        def pick(logits, k):
            return int(logits.topk(k).indices[-1])

        def ask(session, order):
            samplers = [session.sampler(functools.partial(pick, k=k)) for k in (1, 5)]
            samplers += [session.sampler(lambda logits: 1), session.sampler(lambda logits: 2)]
            return {n: samplers[n](torch.arange(9.0)) for n in order}

        with place.record() as session:
            session.tokenizer(place.source)
            answers = ask(session, (0, 1, 2, 3))
        with place.replay() as session:
            assert ask(session, (3, 1, 0, 2)) == answers

    def test_one_name_for_two_models(self, place):
        other = plain_model(place)
        next(other.parameters()).mul_(2)
        other.save_pretrained(place.path / "other" / "tiny-lm")
        with place.record() as session, session.expect_misses():
            session.model(place.source)
            with pytest.raises(IdentityError, match="two different models"):
                session.model(place.path / "other" / "tiny-lm")

    def test_wrapped_under_the_name_of_a_source(self, place):
        other = plain_model(place)
        next(other.parameters()).mul_(2)
        with place.record() as session:
            loaded = session.model(place.source)(PROMPT).logits
            wrapped = session.wrap(other, name="tiny-lm")(PROMPT).logits
        with place.replay() as session:
            assert torch.equal(session.model("tiny-lm")(PROMPT).logits, wrapped)
            assert torch.equal(session.model(place.source)(PROMPT).logits, loaded)


class TestCopies:
    def test_a_copied_model_edited(self, place):
        with place.record() as session, session.expect_misses():
            _, model = session.load(place.source)
            copied = copy.deepcopy(model)
            assert torch.equal(copied(PROMPT).logits, model(PROMPT).logits)
            next(copied.parameters()).mul_(-1)
            with pytest.raises(IdentityError):
                copied(PROMPT)
            model(PROMPT)

    def test_a_copied_model_cast(self, place):
        def ask(model):
            copied = copy.deepcopy(model).to(torch.bfloat16)
            return copied(PROMPT).logits, model(PROMPT).logits, copied.dtype, model.dtype

        with place.record() as session:
            answers = ask(session.load(place.source)[1])
        with place.replay() as session:
            assert difference(answers, ask(session.load(place.source)[1])) is None

    def test_a_copied_tokenizer_extended(self, place):
        def ask(tokenizer):
            copied = copy.deepcopy(tokenizer)
            copied.add_tokens(["<new>"])
            return copied("a <new> b")["input_ids"], tokenizer("a <new> b")["input_ids"], len(copied), len(tokenizer)

        with place.record() as session:
            answers = ask(session.tokenizer(place.source))
        with place.replay() as session:
            assert ask(session.tokenizer(place.source)) == answers

    def test_a_recorded_model_and_tokenizer_can_be_pickled(self, place):
        import pickle

        with place.record() as session:
            tokenizer, model = session.load(place.source)
            unpickled, spoken = pickle.loads(pickle.dumps((model, tokenizer)))
            assert torch.equal(unpickled(PROMPT).logits, model(PROMPT).logits)
            assert spoken("hello") == tokenizer("hello")
            assert "_replaykit" not in unpickled.__dict__
        with place.replay() as session:
            tokenizer, model = session.load(place.source)
            for thing in (tokenizer, model):
                with pytest.raises(UnsupportedError, match="pickle"):
                    pickle.dumps(thing)

    def test_weights_replaced(self, place):
        with place.record() as session, session.expect_misses():
            _, model = session.load(place.source)
            model.model.norm.weight = torch.nn.Parameter(model.model.norm.weight * 2)
            with pytest.raises(IdentityError):
                model(PROMPT)


class TestErrorsAreAnswers:
    def test_the_models_own(self, place):
        def ask(model):
            seen = []
            for question in (lambda: model(ids(5000)), lambda: model.generate(ids(5000), max_new_tokens=3)):
                with pytest.raises(IndexError) as error:
                    question()
                seen.append(str(error.value))
            return seen

        with place.record() as session:
            answers = ask(session.load(place.source)[1])
        with place.replay() as session:
            assert ask(session.load(place.source)[1]) == answers


class TestRefusalsAreNotLost:
    def test_lineage_error_is_latched(self, place):
        with pytest.raises(LineageError), place.record() as session:
            _, model = session.load(place.source)
            cache = model(PROMPT).past_key_values
            cache.layers[0].keys.mul_(2)
            with pytest.raises(LineageError):
                model(ids(303), past_key_values=cache)

    def test_another_threads_miss_is_not_expected_here(self, place):
        with place.record() as session:
            session.tokenizer(place.source)("hello")
        with pytest.raises(MissError), place.replay() as session:
            tokenizer = session.tokenizer(place.source)

            def work():
                with pytest.raises(MissError):
                    tokenizer("elsewhere")

            with session.expect_misses() as seen:
                thread = threading.Thread(target=work)
                thread.start()
                thread.join()
                with pytest.raises(MissError):
                    tokenizer("here")
            assert len(seen) == 1

    def test_leaving_by_sys_exit(self, place):
        with place.record() as session:
            session.tokenizer(place.source)("hello")
        with pytest.raises(MissError), place.replay() as session:
            with pytest.raises(MissError):
                session.tokenizer(place.source)("unseen")
            raise SystemExit(0)

    def test_streams_end_where_the_session_refuses(self, place):
        with place.record() as session:
            tokenizer, model = session.load(place.source)
            tokenizer.decode([300])
            stream = TextIteratorStreamer(tokenizer, timeout=20)
            next(model.parameters()).add_(1)
            with session.expect_misses(), pytest.raises(IdentityError):
                model.generate(PROMPT, streamer=stream, max_new_tokens=3)
            assert list(stream) == [""]
        with place.replay() as session:
            tokenizer, model = session.load(place.source)
        stream = TextIteratorStreamer(tokenizer, timeout=20)
        with pytest.raises(UsageError, match="closed"):
            model.generate(PROMPT, streamer=stream, max_new_tokens=3)
        assert list(stream) == [""]

    def test_a_session_is_entered_once(self, place):
        with place.record() as session:
            session.tokenizer(place.source)
        with pytest.raises(UsageError, match="once"), session:
            pass


class TestLife:
    def test_a_cache_outlives_its_session(self, place):
        with place.record() as session:
            _, model = session.load(place.source)
            cache = model(PROMPT).past_key_values
        model(ids(303), past_key_values=cache)
        cache.crop(-1)
        assert cache.get_seq_length() == PROMPT.shape[1]

    def test_a_session_that_ends_during_a_generation(self, place):
        with place.record() as session:
            _, model = session.load(place.source)

            class Ends(StoppingCriteria):
                def __call__(self, input_ids, scores, **kwargs):
                    session.close()
                    return torch.zeros(1, dtype=torch.bool)

            answer = model.generate(
                PROMPT, stopping_criteria=StoppingCriteriaList([Ends()]), max_new_tokens=3, **ENDLESS
            )
        assert answer.shape == (1, 8)

    def test_two_sessions_record_one_name_at_once(self, place):
        with place.record() as one, place.record() as two:
            one.tokenizer(place.source)("from one")
            two.tokenizer(place.source)("from two")
        with place.replay() as session:
            tokenizer = session.tokenizer(place.source)
            assert tokenizer("from one")["input_ids"]
            assert tokenizer("from two")["input_ids"]
            assert len(session.manifest) == 3

    def test_wrapping_twice_is_refused_in_words(self, place):
        with place.record() as session:
            model = session.wrap(plain_model(place), name="a")
            with pytest.raises(UsageError, match="known to the session"):
                session.wrap(model, name="b")

    def test_dropout_is_warned_of(self, place):
        with place.record() as session:
            model = plain_model(place)
            model.config.attention_dropout = 0.5
            for layer in model.model.layers:
                layer.self_attn.attention_dropout = 0.5
            model = session.wrap(model, name="a").train()
            model(PROMPT)
            with pytest.warns(UserWarning, match="answered twice"):
                model(PROMPT)

    def test_fidelity_of_a_replay_asks_for_nothing(self, place):
        with place.record() as session:
            answer = session.load(place.source)[1].generate(PROMPT, max_new_tokens=4)
        with place.replay(fidelity="full") as session:
            assert torch.equal(session.load(place.source)[1].generate(PROMPT, max_new_tokens=4), answer)

    def test_new_episodes_records_logits_that_were_elided(self, place):
        options = {"max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True}
        with place.record() as session:
            session.load(place.source)[1].generate(PROMPT, max_new_tokens=4)
        with place.record(mode="new_episodes") as session:
            logits = session.load(place.source)[1].generate(PROMPT, **options).logits
        with place.replay() as session:
            assert difference(logits, session.load(place.source)[1].generate(PROMPT, **options).logits) is None

    def test_new_episodes_takes_the_programs_settings_along(self, place):
        with place.record() as session:
            session.load(place.source)[1](PROMPT)
        with place.record(mode="new_episodes") as session:
            _, model = session.load(place.source)
            model.config.output_hidden_states = True
            states = model(ids(4, 310, 5)).hidden_states
        with place.replay() as session:
            _, model = session.load(place.source)
            model.config.output_hidden_states = True
            assert difference(states, model(ids(4, 310, 5)).hidden_states) is None


class TestWhatAReplayedModelHasNot:
    @pytest.fixture
    def model(self, place):
        with place.record() as session:
            session.load(place.source)[1](PROMPT)
        with place.replay() as session:
            yield session.load(place.source)[1]

    def test_parameters_beyond_the_first(self, model):
        assert next(model.parameters()).dtype == torch.float32
        with pytest.raises(UnsupportedError):
            sum(parameter.numel() for parameter in model.parameters())

    def test_hooks(self, model):
        with pytest.raises(UnsupportedError, match="hook"):
            model.register_forward_hook(print)

    def test_mask_sizes_of_its_cache(self, model):
        assert model(PROMPT).past_key_values.get_mask_sizes(1, 0) == (PROMPT.shape[1] + 1, 0)


def test_seeded_before_the_session_the_programs_own_random_numbers_go_on(place):
    def ask(model):
        model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS)
        return torch.rand(3)

    torch.manual_seed(5)
    with place.record() as session:
        drawn = ask(session.load(place.source)[1])
    torch.manual_seed(5)
    with place.replay() as session:
        assert torch.equal(ask(session.load(place.source)[1]), drawn)


def test_a_failed_rebuild_leaves_the_cache_as_it_was(place):
    with place.record() as session:
        _, model = session.load(place.source)
        model(ids(303), past_key_values=model(PROMPT).past_key_values)
    with place.record(mode="new_episodes") as session, session.expect_misses():
        _, model = session.load(place.source)
        cache = model(PROMPT).past_key_values
        model(ids(303), past_key_values=cache)
        real = model.__dict__["_replaykit"].live()
        handle = real.lm_head.register_forward_hook(lambda module, args, output: output + 1e-3)
        with pytest.raises(LineageError):
            model(ids(304), past_key_values=cache)
        assert cache.get_seq_length() == 6
        handle.remove()
        went_on = model(ids(304), past_key_values=cache).logits
    whole = AutoModelForCausalLM.from_pretrained(replaykit.__path__[0] + "/../fixtures/tiny-lm")
    cache = whole(PROMPT).past_key_values
    whole(ids(303), past_key_values=cache)
    assert torch.equal(whole(ids(304), past_key_values=cache).logits, went_on)


def test_the_libraries_are_as_they_were_for_everybody_else(place, monkeypatch):
    with place.record() as session:
        session.load(place.source)[1].generate(PROMPT, max_new_tokens=2)
    called = []
    real = torch.argmax
    monkeypatch.setattr(torch, "argmax", lambda *args, **kwargs: called.append(1) or real(*args, **kwargs))
    plain_model(place).generate(PROMPT, max_new_tokens=2, **ENDLESS)
    assert len(called) >= 2


def test_tokenizer_settings_changed_midway(place):
    real = AutoTokenizer.from_pretrained(place.source)
    with place.record() as session:
        tokenizer = session.wrap(real, name="mine")
        tokenizer.padding_side = "right"
        right = tokenizer(["a", "b c d"], padding=True)["input_ids"]
        tokenizer.padding_side = "left"
        left = tokenizer(["a", "b c d"], padding=True)["input_ids"]
    assert left != right
    with place.replay() as session:
        tokenizer = session.tokenizer("mine")
        assert tokenizer(["a", "b c d"], padding=True)["input_ids"] == left
        tokenizer.padding_side = "right"
        assert tokenizer(["a", "b c d"], padding=True)["input_ids"] == right


def test_a_recording_whose_run_broke_off_says_so(place):
    with pytest.raises(ZeroDivisionError), place.record() as session:
        session.tokenizer(place.source)("hello")
        raise ZeroDivisionError
    with place.record() as session, session.expect_misses():
        tokenizer = session.tokenizer(place.source)
        assert tokenizer("hello")["input_ids"]
        with pytest.raises(NotRecordedError, match=r"ended with an error; mode=.new_episodes. completes it"):
            tokenizer("good-bye")
    with place.record(mode="new_episodes") as session:
        session.tokenizer(place.source)("good-bye")
    with place.record() as session, session.expect_misses():
        with pytest.raises(NotRecordedError) as miss:
            session.tokenizer(place.source)("something else")
        assert "note" not in miss.value.facts


def test_a_new_question_where_the_model_is_gone(place):
    with place.record() as session:
        session.tokenizer(place.source)("hello")
    place.source.rename(place.path / "elsewhere")
    with place.record(mode="new_episodes") as session, session.expect_misses():
        tokenizer = session.tokenizer(place.source)
        with pytest.raises(NotRecordedError, match="the real tokenizer was to be loaded, and that failed"):
            tokenizer("good-bye")


def test_nearest_names_all_that_differs(place):
    with place.record() as session:
        session.tokenizer(place.source)("The sea is", return_tensors="pt")
    with place.replay() as session, session.expect_misses():
        with pytest.raises(NotRecordedError) as miss:
            session.tokenizer(place.source)("The sky")
        assert "'The sky' here, 'The sea is' recorded; arguments.return_tensors is absent here" in miss.value.nearest


class TestSeedsByOtherWays:
    """A seed counts however it was set, whatever sessions the process had before."""

    def test_in_the_second_session_too(self, place):
        quiet = torch.default_generator.manual_seed

        def ask(model, seed):
            quiet(seed)
            return model.generate(PROMPT, do_sample=True, temperature=2.0, max_new_tokens=8, **ENDLESS)

        for name in ("one", "two"):
            quiet(99)
            with place.record(name) as session:
                _, model = session.load(place.source)
                answers = {seed: ask(model, seed) for seed in (7, 8)}
        quiet(99)
        with place.replay("two") as session:
            _, model = session.load(place.source)
            for seed in (8, 7):
                assert torch.equal(ask(model, seed), answers[seed])

    def test_going_back_to_an_earlier_one(self, place):
        def ask(model):
            answers = []
            torch.manual_seed(1)
            answers.append(model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(5)
                answers.append(model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS))
            answers.append(model.generate(PROMPT, do_sample=True, max_new_tokens=4, **ENDLESS))
            return answers

        with place.record() as session:
            answers = ask(session.load(place.source)[1])
        with place.replay() as session:
            assert difference(answers, ask(session.load(place.source)[1])) is None


def test_a_clock_given_later_ends_nothing(place):
    with place.record() as session:
        session.load(place.source)[1].generate(PROMPT, max_new_tokens=5, **ENDLESS)
    with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError, match="ends at token 5"):
        session.load(place.source)[1].generate(PROMPT, max_new_tokens=20, max_time=1000.0, **ENDLESS)


def test_a_longer_observed_generation_is_told_to_be_longer(place):
    options = {"output_scores": True, "return_dict_in_generate": True, **ENDLESS}
    with place.record() as session:
        session.load(place.source)[1].generate(PROMPT, max_new_tokens=4, **options)
    with place.replay() as session, session.expect_misses(), pytest.raises(NotRecordedError, match="ends at token 4"):
        session.load(place.source)[1].generate(PROMPT, max_new_tokens=6, **options)


def test_new_episodes_records_what_other_criteria_ended(place):
    stop = StoppingCriteriaList([StopRow(0, 8)])
    with place.record() as session:
        session.load(place.source)[1].generate(PROMPT, stopping_criteria=stop, max_new_tokens=9, **ENDLESS)
    with place.record(mode="new_episodes") as session:
        _, model = session.load(place.source)
        model.generate(PROMPT, stopping_criteria=stop, max_new_tokens=9, **ENDLESS)
        assert session.recorded == 0
        whole = model.generate(PROMPT, max_new_tokens=9, **ENDLESS)
    with place.replay() as session:
        assert torch.equal(session.load(place.source)[1].generate(PROMPT, max_new_tokens=9, **ENDLESS), whole)


def test_what_new_episodes_recorded_with_criteria_it_replays(place):
    stop = StoppingCriteriaList([StopRow(0, 8)])
    with place.record() as session:
        session.model(place.source)
    for recorded in (1, 0):
        with place.record(mode="new_episodes") as session:
            session.model(place.source).generate(PROMPT, stopping_criteria=stop, max_new_tokens=9, **ENDLESS)
            assert session.recorded == recorded


def test_a_shortened_seeded_answer_warns_of_the_random_numbers_after_it(place):
    def ask(model, tokens):
        torch.manual_seed(3)
        return model.generate(PROMPT, do_sample=True, max_new_tokens=tokens, **ENDLESS)

    with place.record() as session:
        ask(session.load(place.source)[1], 8)
    with place.replay() as session, pytest.warns(UserWarning, match="random numbers"):
        ask(session.load(place.source)[1], 3)


def test_a_cache_can_be_pickled(place):
    import pickle

    with place.record() as session:
        _, model = session.load(place.source)
        cache = model(PROMPT).past_key_values
        inside = pickle.loads(pickle.dumps(cache))
    assert inside.get_seq_length() == pickle.loads(pickle.dumps(cache)).get_seq_length() == 5


def test_a_repository_that_is_named_is_the_one_that_is_asked(place):
    with place.record() as session:
        session.tokenizer(place.source)("hello")
    with pytest.raises(replaykit.RecordingNotFoundError):
        place.replay(repository="another")


def test_a_store_that_lost_its_data_is_no_empty_store(place):
    with place.record() as session:
        session.tokenizer(place.source)("hello")
    (place.store / "env" / "data.mdb").write_bytes(b"")
    with pytest.raises(replaykit.StoreError, match="lost its data"):
        place.replay()
