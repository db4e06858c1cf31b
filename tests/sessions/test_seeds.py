"""Equal random questions are numbered since the last explicit seed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from replaykit.sessions.seeds import SeedScopes


def in_thread(work: Callable[[], object]) -> object:
    """What `work` returns, run to its end in a new thread."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def count(scopes: SeedScopes, question: bytes = b"question") -> tuple[int | None, int]:
    scope = scopes.current
    return scope.seed, scope.occurrence(question)


def test_equal_questions_are_numbered():
    scopes = SeedScopes()

    assert [count(scopes) for _ in range(3)] == [(None, 0), (None, 1), (None, 2)]
    assert count(scopes, b"another") == (None, 0)


def test_a_seed_begins_again():
    scopes = SeedScopes()
    count(scopes)
    scopes.begin(7)

    assert [count(scopes), count(scopes)] == [(7, 0), (7, 1)]


def test_the_same_seed_again_begins_again():
    scopes = SeedScopes()
    scopes.begin(7)
    count(scopes)
    scopes.begin(7)

    assert count(scopes) == (7, 0)


def test_a_thread_that_never_seeded_counts_in_the_newest_scope():
    scopes = SeedScopes()
    scopes.begin(7)
    count(scopes)

    assert in_thread(lambda: count(scopes)) == (7, 1)


def test_a_thread_that_seeded_counts_for_itself():
    scopes = SeedScopes()
    scopes.begin(1)
    count(scopes)

    def other():
        scopes.begin(2)
        return count(scopes)

    assert in_thread(other) == (2, 0)
    assert count(scopes) == (1, 1)
    assert in_thread(lambda: count(scopes)) == (2, 1)


def test_threads_never_get_the_same_number():
    scopes = SeedScopes()
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(count(scopes)[1] for _ in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(seen) == list(range(800))
