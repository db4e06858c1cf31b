from __future__ import annotations

import pytest

from replaykit.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(path):
    with Store.open(path) as opened:
        yield opened
