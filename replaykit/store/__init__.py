"""The store: objects, the index and the recordings in one LMDB environment.

Nouns: an *object* is bytes named by their digest; an *entry* says which outcome answered which key, and where; a *row*
is an entry as the index keeps it; a *recorder* is an open session of recording; a *recording* is its sealed list of
entries, named by the digest of its *manifest*. Knows neither calls nor tensors: it stores bytes.
"""

from .index import Entry, Row
from .journal import OpenSession
from .manifest import Manifest
from .recorder import Recorder
from .recordings import Recording
from .store import Stats, Store

__all__ = ["Entry", "Manifest", "OpenSession", "Recorder", "Recording", "Row", "Stats", "Store"]
