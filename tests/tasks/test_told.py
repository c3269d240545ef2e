"""A database's password is in no message, whatever MLflow or a driver quotes."""

import pytest

from tasks.errors import SentinelError
from tasks.tracking.registry import load_registered
from tasks.tracking.told import public, told
from tasks.tracking.track import Tracker

UNKNOWN = "postgres://ann:the-password@db/mlflow"


def test_an_address_that_mlflow_quotes_is_not_passed_on(tmp_path) -> None:
    with pytest.raises(SentinelError) as refused:
        Tracker("e", UNKNOWN, str(tmp_path), "http://pages")
    assert "MLflow at postgres://***@db/mlflow cannot be used: " in str(refused.value)
    assert "may hold the password and are not shown" in str(refused.value)
    assert "the-password" not in str(refused.value)


def test_nor_is_it_where_an_estimator_is_read() -> None:
    with pytest.raises(SentinelError) as refused:
        load_registered(UNKNOWN, "name")
    assert "MLflow at postgres://***@db/mlflow" in str(refused.value)
    assert "the-password" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "words", "shown"),
    [
        ("postgresql://ann:pw#d@h/x", "connection to server at h failed", True),
        ("postgresql://ann:pwd@h/x", 'authentication failed for user "ann"', True),
        ("postgresql://ann:half@other@h/x", "no host other@h", False),
        ("postgresql://ann:half/other@h/x", "no database other@h/x", False),
        ("postgresql://ann:p%40ssword@h/x", "invalid: p@ssword", False),
        ("postgresql://h/x?user=ann&password=hidden", "bad option hidden", False),
        ("sqlite:////tmp/mlflow.db", "cannot open sqlite:////tmp/other.db", True),
        ("http://mlflow:5000", "Connection refused", True),
    ],
)
def test_words_are_shown_unless_they_hold_a_piece_of_the_password(uri, words, shown) -> None:
    said = told(uri, ValueError(words))
    assert said == (words if shown else "ValueError, whose words may hold the password and are not "
                    "shown")  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ann:pwd@h/x", "postgresql://***@h/x"),
        ("postgresql://h/x?password=pwd", "postgresql://h/x"),
        ("postgresql://ann:p@wd@h/x", "postgresql://***@h/x"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("http://mlflow:5000", "http://mlflow:5000"),
    ],
)
def test_an_address_is_named_without_its_password(uri: str, shown: str) -> None:
    assert public(uri) == shown
