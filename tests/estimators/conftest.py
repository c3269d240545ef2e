"""Fixtures of the estimators' tests."""

import pytest

from estimators.table import FeatureTable
from tests.estimators import tables


@pytest.fixture(scope="session")
def table() -> FeatureTable:
    return tables.synthetic()


@pytest.fixture(scope="session")
def shared_table() -> FeatureTable:
    """The nine real benchmarks of the shared traces."""
    if not tables.TRACES.is_dir():
        pytest.skip(f"no shared traces at {tables.TRACES}: set SENTINEL_SHARED")
    return tables.shared()
