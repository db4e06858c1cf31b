"""Errors that a real tokenizer raises because of what it was asked: recorded, and raised again in replay.

Only errors that the same question always brings. What the machine caused (memory, files, interrupts) is not an answer.
"""

from __future__ import annotations

from typing import NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError

from ..calls import RecordedError
from ..errors import CorruptError, ReplaykitError

_CLASSES: dict[str, type[Exception]] = {
    cls.__name__: cls
    for cls in (
        AttributeError,
        IndexError,
        KeyError,
        NotImplementedError,
        OverflowError,
        TypeError,
        ValueError,
        TemplateError,
        TemplateSyntaxError,
        UndefinedError,
    )
}
ANSWERS = tuple(_CLASSES.values())


def recorded_error(error: Exception) -> RecordedError | None:
    """`error` as plain data; None if it is not the kind that answers a question."""
    if isinstance(error, ReplaykitError) or _CLASSES.get(type(error).__name__) is not type(error):
        return None
    if isinstance(error, TemplateSyntaxError):
        return RecordedError("TemplateSyntaxError", (error.message, error.lineno, error.name, error.filename))
    if not all(isinstance(argument, (str, int, float, bool, type(None))) for argument in error.args):
        return RecordedError(type(error).__name__, (str(error),))
    return RecordedError(type(error).__name__, error.args)


def raise_again(recorded: RecordedError) -> NoReturn:
    cls = _CLASSES.get(recorded.name)
    if cls is None:
        raise CorruptError(f"a recorded error of unknown class {recorded.name}: it was recorded by a newer replaykit")
    raise cls(*recorded.arguments)
