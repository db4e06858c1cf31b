"""A recorded tokenizer: the real one, its class swapped for a subclass of the same name that records each text call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from ..calls import Outcome
from ..codec import Object
from ..hf.models import as_it_is, as_the_original, deep_copied, original_class
from ..hf.provenance import tokenizer_provenance
from ..hf.raised import ANSWERS, recorded_error
from ..hf.tokenizers import Additions, TokenizerBinding, inside_text_call, tokenizer_state, tokenizer_subclass
from ..hf.values import Values
from ..sessions import Session


class RecordedTokenizer(Additions):
    """Stands before the real tokenizer's class."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return as_it_is, (as_the_original(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copied(self, memo)


def record_tokenizer(tokenizer: Any, session: Session, identity: Object) -> PreTrainedTokenizerBase:
    """Record what `tokenizer`, which is the one of `identity`, is asked from now on. Returns the same tokenizer."""
    tokenizer.__dict__["_replaykit"] = RecordedTokenizerBinding(
        session, identity.digest, tokenizer_state(tokenizer), identity
    )
    tokenizer.__class__ = tokenizer_subclass(original_class(type(tokenizer)), RecordedTokenizer)
    return tokenizer


class RecordedTokenizerBinding(TokenizerBinding):
    def __init__(self, session: Session, identity: bytes, state: Any, unwritten: Object) -> None:
        super().__init__(session, identity, state)
        self.provenance = tokenizer_provenance()
        self._unwritten = [unwritten]

    def call(
        self, tokenizer: Any, method: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.session.closed or inside_text_call.get():
            return real(*args, **kwargs)
        # Read before it runs: some methods change the lists they are given.
        call = self.read(tokenizer, method, args, kwargs)
        token = inside_text_call.set(True)
        try:
            result = real(*args, **kwargs)
        except ANSWERS as error:
            answer = recorded_error(error)
            if answer is not None:
                self._record(call, Outcome(error=answer))
            raise
        finally:
            inside_text_call.reset(token)
        values = Values()
        self._record(call, Outcome(values.plain(result), files=tuple(values.files)))
        return result

    def _record(self, call: Any, outcome: Outcome) -> None:
        unwritten, self._unwritten = self._unwritten, []
        self.session.record(call, outcome, self.provenance, objects=unwritten)
