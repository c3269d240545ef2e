"""How a secret may be written down: as it is, escaped, and in the usual encodings."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq


def spellings(value: str) -> set[bytes]:
    """Byte strings of which one occurs wherever the value was written in one of these ways.

    In base64 the letters depend on where in a group of three bytes the value begins, so there are
    three, each without the letters at its ends that its neighbours have a part in.
    """
    raw = value.encode()
    made = {raw, quote(value, safe="").encode(), quote_plus(value).encode()}
    made |= {json.dumps(value)[1:-1].encode(), value.replace("/", "\\/").encode()}
    made |= {raw.hex().encode(), raw.hex().upper().encode()}
    for lead in range(3):
        whole = len(raw) - (-lead % 3)
        whole -= whole % 3
        inner = raw[-lead % 3 :][:whole]
        made |= {base64.b64encode(inner), base64.urlsafe_b64encode(inner)}
    return made


def found_in(folder: Path, values: Mapping[str, str]) -> dict[str, list[str]]:
    """Files below a folder that hold a value in some spelling, by the value's name.

    Of Parquet files the texts in the compressed columns and in the metadata are searched too.
    """
    wanted = {name: spellings(value) for name, value in values.items()}
    found: dict[str, list[str]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        for name in _held([path.read_bytes(), *_columns(path)], wanted):
            found.setdefault(name, []).append(path.relative_to(folder).as_posix())
    return found


def _held(contents: Iterable[bytes], wanted: Mapping[str, set[bytes]]) -> set[str]:
    return {
        name
        for content in contents
        for name, ways in wanted.items()
        if any(way in content for way in ways)
    }


def _columns(path: Path) -> list[bytes]:
    if path.suffix != ".parquet":
        return []
    table = pq.read_table(path)
    texts = [f.name for f in table.schema if "string" in str(f.type)]
    return [str(table.select(texts).to_pylist()).encode(), str(table.schema.metadata).encode()]
