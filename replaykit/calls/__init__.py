"""What was asked and what came back, as plain data, and the key that names each question.

Nouns: *call* (`Load`, `TokenizerCall`, `ModelStep`, `Generation`, `SamplerCall`), *identity*, *lineage* (`Node`,
`ROOT`), *outcome*, *decisions*. A call's key is the digest of its canonical bytes, so a stored call is an object named
by its key. Knows neither torch nor the store.
"""

from .call import Call, Generation, Load, ModelStep, SamplerCall, TokenizerCall
from .decisions import Decisions
from .identity import identity_object
from .lineage import ROOT, Lineage, Node
from .outcome import Outcome, RecordedError

__all__ = [
    # questions
    "Call",
    "Generation",
    "Load",
    "ModelStep",
    "SamplerCall",
    "TokenizerCall",
    # what they depend on
    "ROOT",
    "Lineage",
    "Node",
    "identity_object",
    # answers
    "Decisions",
    "Outcome",
    "RecordedError",
]
