"""Small files that the command line's tests feed it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def parquet(path: Path, rows: list[dict] | pa.Table) -> Path:
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path)
    return path


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def key(number: int, benchmark: str = "b") -> dict:
    return {"benchmark": benchmark, "item_id": f"{number}"}


# Help
