from collections.abc import Iterator

import pytest

from tasks.judging.symbolic import SymbolicPool


@pytest.fixture(scope="session")
def pool() -> Iterator[SymbolicPool]:
    """One SymPy process for the whole folder: starting it costs more than most tests."""
    with SymbolicPool(1) as started:
        yield started
