"""The mode table: what happens to a call whose key is recorded, and to one whose key is new."""

from __future__ import annotations

from enum import Enum

from ..errors import UsageError


class Decision(Enum):
    REPLAY = "replay"
    RECORD = "record"
    REFUSE = "refuse"


class Mode(Enum):
    """What a session does with a call.

    ============== ================ ==========================================
    mode           key is recorded  key is new
    ============== ================ ==========================================
    strict         replay           refuse
    once           replay           record if the recording is new, else refuse
    new_episodes   replay           record
    all            record           record
    ============== ================ ==========================================

    "Recorded" means: before this session began. `strict` is the default, and what other tools call `none`.
    """

    STRICT = "strict"
    ONCE = "once"
    NEW_EPISODES = "new_episodes"
    ALL = "all"

    def decide(self, *, known: bool, fresh: bool) -> Decision:
        """What to do with a call whose key is `known`; `fresh` says that the recording was not there before."""
        if self is Mode.ALL:
            return Decision.RECORD
        if known:
            return Decision.REPLAY
        if self is Mode.NEW_EPISODES or (self is Mode.ONCE and fresh):
            return Decision.RECORD
        return Decision.REFUSE

    @classmethod
    def parse(cls, text: str | Mode) -> Mode:
        """The mode of that name. Raises UsageError naming the modes there are."""
        if isinstance(text, Mode):
            return text
        try:
            return cls(text)
        except ValueError:
            names = ", ".join(mode.value for mode in cls)
            hint = " (replaykit calls it strict)" if text == "none" else ""
            raise UsageError(f"there is no mode {text!r}{hint}; the modes are {names}") from None
