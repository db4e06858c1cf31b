"""One run against one recording in one mode.

Nouns: *mode* (the table that decides), *settings* (where mode, store and fidelity come from), *session* (looks calls
up, records them, latches what was missed), *seed scope* (numbers equal random questions). Knows neither torch nor
transformers: calls come in as plain data.
"""

from .mode import Decision, Mode
from .session import Session
from .settings import Settings

__all__ = ["Decision", "Mode", "Session", "Settings"]
