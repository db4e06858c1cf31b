"""Every error of replaykit, in one tree, grouped by what the reader does next.

    ReplaykitError                      catch this to catch them all
    ├── MissError      (LookupError)    record it, or find what changed
    │   ├── NotRecordedError            no recording answers this call
    │   └── RecordingNotFoundError      there is no recording of that name
    ├── DivergenceError                 see what differs
    │   ├── IdentityError               another model or tokenizer than was recorded
    │   ├── LineageError                a cache this session did not make
    │   └── NondeterminismError         recorded twice, two answers
    ├── FidelityError                   record with the level it names
    ├── StoreError                      free space, wait, record anew, upgrade
    │   ├── CorruptError                bytes that no longer hash to their name
    │   ├── FullError                   no space left
    │   ├── BusyError                   somebody else holds what is needed
    │   ├── ReadOnlyError               the store cannot be written here
    │   └── FormatError                 not a store, or one of a newer version
    ├── RemoteError                     retry, check credentials
    ├── UnsupportedError (TypeError)    cannot be recorded faithfully
    └── UsageError     (ValueError)     an argument or a setting is wrong

Facts are attributes; the text derives from them. Each class carries a stable `kind` for programs; kinds are
append-only.
"""

from __future__ import annotations

from typing import Any


class ReplaykitError(Exception):
    """The root of the tree.

    `facts` are printed one a line under the message, in order, with their names aligned.
    """

    kind = "replaykit"

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = {name: value for name, value in facts.items() if value is not None}

    def __str__(self) -> str:
        if not self.facts:
            return self.message
        width = max(map(len, self.facts))
        indent = "\n" + " " * (width + 4)
        lines = [
            f"  {name.replace('_', ' '):{width}}  {str(value).replace(chr(10), indent)}"
            for name, value in self.facts.items()
        ]
        return "\n".join([self.message, *lines])


class MissError(ReplaykitError, LookupError):
    """Nothing recorded answers. Record it, or find what changed.

    `call` is the call that came, as plain data; `recording` the name of the recording that was asked;
    `nearest` describes the most similar recorded call, or is None.
    """

    kind = "miss"

    def __init__(
        self, message: str, *, call: Any = None, recording: str | None = None, nearest: str | None = None, **facts: Any
    ) -> None:
        self.call = call
        self.recording = recording
        self.nearest = nearest
        to_record = facts.pop("to_record", None)
        super().__init__(message, recording=recording, nearest=nearest, **facts, to_record=to_record)


class NotRecordedError(MissError):
    """No recording answers this call."""

    kind = "not-recorded"


class RecordingNotFoundError(MissError):
    """There is no recording of that name in the store."""

    kind = "recording-not-found"


class DivergenceError(ReplaykitError):
    """The program or the model does something else than was recorded. `expected` was recorded, `actual` came."""

    kind = "divergence"

    def __init__(self, message: str, *, expected: Any = None, actual: Any = None, **facts: Any) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(message, expected=expected, actual=actual, **facts)


class IdentityError(DivergenceError):
    """Another model or tokenizer than the one that was recorded."""

    kind = "identity"


class LineageError(DivergenceError):
    """A cache whose contents this session cannot account for."""

    kind = "lineage"


class NondeterminismError(DivergenceError):
    """One call was recorded twice with two answers, and nothing says which one is meant."""

    kind = "nondeterminism"


class FidelityError(ReplaykitError):
    """A value is asked for that was not stored. `level` is the fidelity to record with."""

    kind = "fidelity"

    def __init__(self, message: str, *, level: str = "full", **facts: Any) -> None:
        self.level = level
        super().__init__(message, **facts)


class StoreError(ReplaykitError):
    """The store cannot do what was asked. `path` names the file or directory."""

    kind = "store"

    def __init__(self, message: str, *, path: Any = None, **facts: Any) -> None:
        self.path = path
        super().__init__(message, path=path, **facts)


class CorruptError(StoreError):
    """Bytes that no longer hash to their name."""

    kind = "corrupt"


class FullError(StoreError):
    """No space left on the device that holds the store."""

    kind = "full"


class BusyError(StoreError):
    """Somebody else holds the lock that is needed."""

    kind = "busy"


class ReadOnlyError(StoreError):
    """The store cannot be written here."""

    kind = "read-only"


class FormatError(StoreError):
    """Not a replaykit store, or one of a version this replaykit does not know."""

    kind = "format"


class RemoteError(ReplaykitError):
    """A remote did not answer as it should. `url` names it."""

    kind = "remote"

    def __init__(self, message: str, *, url: str | None = None, **facts: Any) -> None:
        self.url = url
        super().__init__(message, url=url, **facts)


class UnsupportedError(ReplaykitError, TypeError):
    """This cannot be recorded faithfully, so it is refused."""

    kind = "unsupported"


class UsageError(ReplaykitError, ValueError):
    """An argument or a setting is wrong."""

    kind = "usage"
