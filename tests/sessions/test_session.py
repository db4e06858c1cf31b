"""A session answers, records, refuses, and does not let a refusal get lost."""

from __future__ import annotations

import threading

import pytest

from replaykit.calls import Generation, Load, ModelStep, Outcome, SamplerCall
from replaykit.codec import Tensor
from replaykit.errors import (
    CorruptError,
    MissError,
    NondeterminismError,
    NotRecordedError,
    RecordingNotFoundError,
    UsageError,
)
from replaykit.store import Store

from .conftest import HERE, IDENTITY, THERE, question


class TestAnswering:
    def test_a_session_without_anybody_to_ask_refuses_what_is_new(self, desk):
        desk.record("known")

        with desk.session(mode="new_episodes") as session, session.expect_misses():
            assert session.recall(question("known"), can_ask=False).value == "known!"
            with pytest.raises(NotRecordedError):
                session.recall(question("new"), can_ask=False)

    def test_an_answer_may_be_asked_for_in_any_order_and_as_often_as_one_likes(self, desk):
        desk.record("one", "two")

        with desk.session() as session:
            assert [desk.ask(session, text) for text in ("two", "one", "two")] == ["two!", "one!", "two!"]

    def test_a_recording_is_read_wherever_it_is(self, desk):
        desk.record("known", repository="theirs")

        with desk.session() as session:
            assert desk.ask(session, "known") == "known!"
        with pytest.raises(RecordingNotFoundError):  # a repository that is named is the one that is meant
            desk.session(repository="others")

    def test_without_a_name_any_recording_answers(self, desk):
        desk.record("known")

        with desk.session(None) as session:
            assert desk.ask(session, "known") == "known!"

    def test_new_episodes_keep_what_was_recorded(self, desk):
        desk.record("one", "two")
        desk.record("two", "three", mode="new_episodes")

        with desk.session() as session:
            assert [desk.ask(session, text) for text in ("one", "two", "three")] == ["one!", "two!", "three!"]
            assert len(session.manifest) == 3

    def test_all_records_afresh(self, desk):
        desk.record("one", "two")
        desk.record("one", mode="all", answer="{}?")

        with desk.session() as session:
            assert desk.ask(session, "one") == "one?"
            assert len(session.manifest) == 1

    def test_a_session_that_recorded_nothing_leaves_the_recording_as_it_was(self, desk):
        desk.record("one")
        with Store.open(desk.path) as store:
            before = store.manifest("ours", "chat")

        desk.record(mode="all")
        desk.record("one", mode="new_episodes")

        with Store.open(desk.path) as store:
            assert store.manifest("ours", "chat") == before

    def test_flush_makes_durable_what_is_not_sealed(self, desk):
        session = desk.session(mode="once")
        desk.ask(session, "one")
        session.flush()

        with Store.open(desk.path) as store:
            assert store.stats().pending == 0
            assert [(found.name, found.count) for found in store.open_sessions()] == [("chat", 1)]
        session.close()

    def test_an_absent_object_is_damage_not_a_miss(self, desk):
        desk.record("one")

        with desk.session() as session, pytest.raises(CorruptError, match="is referred to but absent"):
            session.fetch(question("new").key)


class TestTwoAnswers:
    def test_what_contradicts_itself_is_refused_where_nothing_says_which_is_meant(self, desk):
        desk.record("one")
        desk.record("one", answer="{}?", provenance=THERE, name="other")

        with (
            desk.session(None) as session,
            session.expect_misses(),
            pytest.raises(NondeterminismError) as caught,
        ):
            desk.ask(session, "one")
        assert caught.value.expected != caught.value.actual

    @pytest.mark.parametrize(("name", "answer"), [("chat", "one!"), ("other", "one?")])
    def test_the_pinned_recording_decides(self, desk, name, answer):
        desk.record("one")
        desk.record("one", answer="{}?", provenance=THERE, name="other")

        with desk.session(name) as session:
            assert desk.ask(session, "one") == answer

    def test_two_machines_that_agree_are_one_answer(self, desk):
        desk.record("one", provenance=HERE)
        desk.record("one", provenance=THERE, name="other")

        with desk.session(None) as session:
            assert desk.ask(session, "one") == "one!"

    def test_one_recording_with_two_answers_is_warned_of_and_refused(self, desk):
        with desk.session(mode="once") as session:
            session.record(question("one"), Outcome("a", files=(IDENTITY,)), HERE)
            with pytest.warns(UserWarning, match="answered twice in different ways, so its replay will be refused"):
                session.record(question("one"), Outcome("b", files=(IDENTITY,)), HERE)

        with desk.session() as session, session.expect_misses(), pytest.raises(NondeterminismError):
            desk.ask(session, "one")

    def test_who_asks_may_choose(self, desk):
        asked = Generation(IDENTITY.digest, "sample", {}, {})
        with desk.session(mode="once") as session:
            for answer in ("a", "bb"):
                session.record(asked, Outcome(answer, files=(IDENTITY,)), HERE)

        def longest(outcomes):
            return max(outcomes, key=lambda outcome: len(outcome.value))

        with desk.session() as session:
            assert session.recall(asked, choose=longest).value == "bb"


class TestOtherRecordings:
    @pytest.mark.parametrize(
        "call",
        [
            question("one"),
            ModelStep(IDENTITY.digest, {"input_ids": 1}),
            Generation(IDENTITY.digest, "sample", {}, {}),
        ],
        ids=lambda call: call.title,
    )
    def test_where_only_the_content_counts_another_recordings_answer_will_do(self, desk, call):
        desk.record("something else")
        with desk.session("other", "once") as session:
            session.record(call, Outcome("answer", files=(IDENTITY,)), HERE)

        with desk.session("chat") as session:
            assert session.recall(call).value == "answer"

    @pytest.mark.parametrize(
        "call",
        [
            Load("model", "tiny-lm", "AutoModel", {}),
            SamplerCall(IDENTITY.digest, {"args": [1]}),
            Generation(IDENTITY.digest, "sample", {}, {}, occurrence=0),
        ],
        ids=lambda call: call.title,
    )
    def test_what_was_drawn_or_named_belongs_to_its_recording(self, desk, call):
        desk.record("something else")
        with desk.session("other", "once") as session:
            session.record(call, Outcome("answer", files=(IDENTITY,)), HERE)

        with desk.session("chat") as session, session.expect_misses(), pytest.raises(NotRecordedError):
            session.recall(call)
        with desk.session(None) as session:
            assert session.recall(call).value == "answer"


class TestLatch:
    def test_a_swallowed_refusal_is_raised_at_the_end(self, desk):
        desk.record("known")

        with pytest.raises(NotRecordedError) as caught, desk.session() as session:
            try:
                desk.ask(session, "new")
            except LookupError as swallowed:
                first = swallowed
            with pytest.raises(MissError):
                desk.ask(session, "newer")
        assert caught.value is first
        assert [miss.call for miss in session.misses] == [question("new"), question("newer")]

    def test_the_programs_own_error_goes_first(self, desk):
        desk.record("known")

        with pytest.raises(ZeroDivisionError), desk.session() as session:
            try:
                desk.ask(session, "new")
            except NotRecordedError:
                raise ZeroDivisionError from None

    def test_expected_misses_do_not_count(self, desk):
        desk.record("known")

        with desk.session() as session:
            with session.expect_misses() as misses, pytest.raises(NotRecordedError):
                desk.ask(session, "new")
            assert [miss.call for miss in misses] == [question("new")]
            assert session.misses == []

    def test_the_misses_of_another_thread_are_not_expected(self, desk):
        desk.record("known")

        def ask():
            with pytest.raises(NotRecordedError):
                desk.ask(session, "new")

        with pytest.raises(NotRecordedError), desk.session() as session:
            with session.expect_misses() as misses:
                thread = threading.Thread(target=ask)
                thread.start()
                thread.join()
            assert (len(misses), len(session.misses)) == (0, 1)

    def test_a_refusal_that_is_told_twice_is_kept_once(self, desk):
        desk.record("known")

        with desk.session() as session, session.expect_misses() as misses:
            miss = session.miss(question("new"))
            session.latch(miss)
            session.latch(miss)
            assert misses == [miss]

    def test_leaving_by_sys_exit_without_a_code_is_no_way_out(self, desk):
        desk.record("known")

        with pytest.raises(NotRecordedError), desk.session() as session:
            with pytest.raises(NotRecordedError):
                desk.ask(session, "new")
            raise SystemExit

    def test_misses_before_the_block_still_count(self, desk):
        desk.record("known")

        with pytest.raises(NotRecordedError) as caught, desk.session() as session:
            with pytest.raises(NotRecordedError):
                desk.ask(session, "first")
            with session.expect_misses(), pytest.raises(NotRecordedError):
                desk.ask(session, "second")
        assert caught.value.call == question("first")


class TestMiss:
    def test_a_miss_says_what_came_what_is_nearest_and_what_to_type(self, desk):
        desk.record("Say hi in French.", "Tell me a story.")

        with desk.session() as session, session.expect_misses(), pytest.raises(NotRecordedError) as caught:
            desk.ask(session, "Say hi in German.")

        assert caught.value.call == question("Say hi in German.")
        assert str(caught.value) == (
            "no recording answers this tokenizer call.\n"
            f"  recording  chat (2 entries) in {desk.path}\n"
            "  nearest    entry 0: arguments.text differs at character 10: 'Say hi in German.' here,"
            " 'Say hi in French.' recorded\n"
            "  asked      encode(text='Say hi in German.')\n"
            '  to record  REPLAYKIT_MODE=new_episodes, or mode="new_episodes" in replaykit.session(...),'
            " where the model is"
        )

    def test_a_miss_names_what_is_here_and_absent_there(self, desk):
        desk.record("one")

        with desk.session() as session:
            nearest = session.miss(question("one", padding_side="left")).nearest
        assert nearest == "entry 0: state.padding_side is 'left' here, absent there"

    def test_a_miss_of_another_kind_says_so(self, desk):
        desk.record("one")

        with desk.session() as session:
            assert "no model step is recorded" in session.miss(ModelStep(IDENTITY.digest, {})).nearest
            assert "no sample generation is recorded" in (
                session.miss(Generation(IDENTITY.digest, "sample", {}, {})).nearest
            )

    def test_a_miss_tells_tensors_by_their_first_difference(self, desk):
        def step(*tokens: int) -> ModelStep:
            data = b"".join(token.to_bytes(8, "little") for token in tokens)
            return ModelStep(IDENTITY.digest, {"input_ids": Tensor("int64", (1, len(tokens)), data)})

        with desk.session(mode="once") as session:
            session.record(step(1, 2, 3), Outcome("x", files=(IDENTITY,)), HERE)
        with desk.session() as session:
            assert session.miss(step(1, 2, 4)).nearest == (
                "entry 0: inputs.input_ids Tensor(int64 [1, 3]) differs at element 2"
            )
            assert "Tensor(int64 [1, 2]) here, Tensor(int64 [1, 3]) recorded" in session.miss(step(1, 2)).nearest


class TestLife:
    def test_repr_tells_state(self, desk):
        with desk.session(mode="once") as session:
            assert repr(session) == "<Session once chat: 0 replayed, 0 recorded>"
            desk.ask(session, "one")
            assert repr(session) == "<Session once chat: 0 replayed, 1 recorded>"
        assert repr(session) == "<Session closed once chat: 0 replayed, 1 recorded>"

        with desk.session(None) as session:
            desk.ask(session, "one")
            with session.expect_misses(), pytest.raises(NotRecordedError):
                desk.ask(session, "new")
            assert repr(session) == "<Session strict (any recording): 1 replayed, 0 recorded>"

    def test_repr_counts_misses(self, desk):
        desk.record("one")
        session = desk.session()
        with pytest.raises(NotRecordedError):
            desk.ask(session, "new")

        assert repr(session) == "<Session strict chat: 0 replayed, 0 recorded, 1 missed>"
        session.close()

    def test_a_closed_session_answers_nothing(self, desk):
        desk.record("one")
        with desk.session() as session:
            pass

        with pytest.raises(UsageError, match="answers only inside it"):
            desk.ask(session, "one")
        session.close()  # does nothing the second time
        with pytest.raises(UsageError, match="may be entered once"), session:
            pass

    def test_a_session_that_fails_still_seals_what_it_had(self, desk):
        with pytest.raises(ZeroDivisionError), desk.session(mode="once") as session:
            desk.ask(session, "one")
            raise ZeroDivisionError

        with desk.session() as session:
            assert desk.ask(session, "one") == "one!"

    def test_recording_needs_a_name(self, desk):
        with pytest.raises(UsageError, match="mode once records, so the session needs a name"):
            desk.session(None, mode="once")

    @pytest.mark.parametrize("name", ["Chat", "a/b", ""])
    def test_a_name_must_be_one(self, desk, name):
        with pytest.raises(UsageError, match="cannot name a recording"):
            desk.session(name)

    def test_strict_without_a_store_says_there_is_none(self, desk):
        with pytest.raises(RecordingNotFoundError, match="there is no store to replay from"):
            desk.session()
        assert not desk.path.exists()

    def test_strict_without_the_recording_names_those_like_it(self, desk):
        desk.record("one")

        with pytest.raises(RecordingNotFoundError) as caught:
            desk.session("chap")
        assert caught.value.nearest == "chat"
        assert 'replaykit.session("chap", mode="once")' in str(caught.value)

    def test_strict_with_several_owners_of_a_name_asks_which(self, desk):
        for repository in ("theirs", "others"):
            desk.record("one", repository=repository)

        with pytest.raises(RecordingNotFoundError, match="several other repositories have one"):
            desk.session()
