"""The search for secrets finds them in every way that it claims to."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.security.spellings import found_in, spellings

SECRET = "sk/a+b==\"c 0123'456"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("after", ["", "x", "yz"])
def test_base64_is_found_wherever_the_value_begins(before: str, after: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(f"{before}{SECRET}{after}".encode())
        assert any(way in encoded for way in spellings(SECRET))


@pytest.mark.parametrize(
    "written", [SECRET, quote(SECRET, safe=""), json.dumps({"a": SECRET}), SECRET.encode().hex()]
)
def test_other_spellings_are_found(written: str) -> None:
    assert any(way in f"key={written}&".encode() for way in spellings(SECRET))


def test_no_spelling_is_so_short_that_it_would_be_found_by_chance() -> None:
    assert min(map(len, spellings("0123456789abcdef"))) >= 16


def test_files_and_compressed_columns_are_searched(tmp_path: Path) -> None:
    table = pa.table({"text": ["nothing"] * 999 + [SECRET]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "b.txt").write_bytes(b"\0" + base64.b64encode(f"u:{SECRET}".encode()))
    (tmp_path / "c.txt").write_text("nothing")
    assert found_in(tmp_path, {"key": SECRET, "other": "is-not-there"}) == {
        "key": ["a.parquet", "log/b.txt"]
    }
