"""Seed scopes: they number equal random questions, so that three unseeded answers to one prompt are three outcomes.

A scope begins with the session and with each explicit seed. Where threads seed for themselves, each counts in the
scope it opened; a thread that never seeded counts in the newest scope of all.
"""

from __future__ import annotations

import threading
from collections import Counter


class SeedScope:
    """What was asked since one explicit seed (or since the session began, where `seed` is None)."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._counts: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def occurrence(self, question: bytes) -> int:
        """How often this question was asked in this scope before; counts it."""
        with self._lock:
            self._counts[question] += 1
            return self._counts[question] - 1


class SeedScopes:
    """The scopes of one session."""

    def __init__(self) -> None:
        self._newest = SeedScope(None)
        self._own = threading.local()
        self._by_seed: dict[int, SeedScope] = {}
        self.generator: int | None = None
        """The seed that the random generator was last known to have; another one was set without our being told."""

    @property
    def current(self) -> SeedScope:
        return getattr(self._own, "scope", None) or self._newest

    def begin(self, seed: int | None) -> None:
        """An explicit seed was set in this thread; None for one drawn at random."""
        self._enter(SeedScope(seed))

    def notice(self, seed: int, *, chosen: bool) -> None:
        """The generator has this seed now: by a way we are not told of, or because it went back to an earlier one.

        `chosen`: somebody chose it, rather than chance.
        """
        if seed == self.generator:
            return
        self.generator = seed
        self._enter(self._by_seed.get(seed) or SeedScope(seed if chosen else None))

    def _enter(self, scope: SeedScope) -> None:
        self._newest = self._own.scope = scope
        if scope.seed is not None:
            self._by_seed[scope.seed] = scope
