"""The mode table."""

from __future__ import annotations

import re

import pytest

from replaykit.errors import NotRecordedError, UsageError
from replaykit.sessions import Decision, Mode

REPLAY, RECORD, REFUSE = Decision.REPLAY, Decision.RECORD, Decision.REFUSE

TABLE = [
    # mode, recorded, in a fresh recording
    (Mode.STRICT, True, True, REPLAY),
    (Mode.STRICT, True, False, REPLAY),
    (Mode.STRICT, False, True, REFUSE),
    (Mode.STRICT, False, False, REFUSE),
    (Mode.ONCE, True, True, REPLAY),
    (Mode.ONCE, True, False, REPLAY),
    (Mode.ONCE, False, True, RECORD),
    (Mode.ONCE, False, False, REFUSE),
    (Mode.NEW_EPISODES, True, True, REPLAY),
    (Mode.NEW_EPISODES, True, False, REPLAY),
    (Mode.NEW_EPISODES, False, True, RECORD),
    (Mode.NEW_EPISODES, False, False, RECORD),
    (Mode.ALL, True, True, RECORD),
    (Mode.ALL, True, False, RECORD),
    (Mode.ALL, False, True, RECORD),
    (Mode.ALL, False, False, RECORD),
]


@pytest.mark.parametrize(("mode", "known", "fresh", "decision"), TABLE)
def test_mode_decides(mode, known, fresh, decision):
    assert mode.decide(known=known, fresh=fresh) is decision


def test_the_table_has_every_case():
    assert len({case[:3] for case in TABLE}) == 4 * len(Mode)


@pytest.mark.parametrize(("mode", "known", "decision"), [(m, k, d) for m, k, fresh, d in TABLE if not fresh])
def test_a_session_on_an_existing_recording_does_what_the_table_says(desk, mode, known, decision):
    desk.record("known")
    desk.asked.clear()
    text = "known" if known else "new"

    with desk.session(mode=mode.value) as session, session.expect_misses():
        if decision is REFUSE:
            with pytest.raises(NotRecordedError):
                desk.ask(session, text)
        else:
            assert desk.ask(session, text) == f"{text}!"

    assert desk.asked == ([text] if decision is RECORD else [])
    assert (session.replayed, session.recorded) == (int(decision is REPLAY), int(decision is RECORD))


@pytest.mark.parametrize("mode", [Mode.ONCE, Mode.NEW_EPISODES, Mode.ALL])
def test_a_session_on_a_new_recording_records(desk, mode):
    with desk.session(mode=mode.value) as session:
        assert (session.fresh, session.records) == (True, True)
        assert desk.ask(session, "new") == "new!"

    with desk.session() as session:
        assert desk.ask(session, "new") == "new!"
    assert desk.asked == ["new"]


@pytest.mark.parametrize("mode", Mode)
def test_a_mode_is_named_by_its_value(mode):
    assert Mode.parse(mode.value) is Mode.parse(mode) is mode


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sometimes", "there is no mode 'sometimes'; the modes are strict, once, new_episodes, all"),
        ("none", "there is no mode 'none' (replaykit calls it strict); the modes are strict, once, new_episodes, all"),
    ],
)
def test_a_mode_that_is_none_is_refused_by_naming_those_there_are(text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Mode.parse(text)


def test_the_docstring_names_every_mode():
    for mode in Mode:
        assert f"    {mode.value} " in (Mode.__doc__ or "")
