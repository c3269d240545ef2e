"""The store: parts are written whole or not at all, and what was written stays readable."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from tasks.errors import SentinelError
from tasks.storage.store import Artefact, Store


def rows(*ids: str, value: float = 0.0) -> pa.Table:
    return pa.table({"benchmark": ["b"] * len(ids), "item_id": list(ids),
                     "value": [value] * len(ids)})  # fmt: skip


@pytest.fixture(params=["folder", "memory"])
def artefact(request, tmp_path: Path) -> Artefact:
    root = str(tmp_path / "root") if request.param == "folder" else f"memory://{tmp_path.name}"
    return Store(root).artefact("kind", "model", "benchmark", "key")


@pytest.fixture
def local(store: Store) -> Artefact:
    return store.artefact("kind", "key")


def files(store: Store) -> list[Path]:
    return [p for p in Path(store.root).rglob("*") if p.is_file()]


def test_nothing_is_there_before_the_first_part(artefact: Artefact) -> None:
    assert artefact.read() is None
    assert artefact.done() == set()
    assert artefact.parts() == []


def test_parts_are_read_as_one_table_sorted_by_key(artefact: Artefact) -> None:
    artefact.append(rows("c", "a"))
    artefact.append(rows("b"))
    assert artefact.read()["item_id"].to_pylist() == ["a", "b", "c"]
    assert artefact.done() == {"a", "b", "c"}
    assert len(artefact.parts()) == 2


def test_a_key_that_two_parts_hold_counts_once(artefact: Artefact) -> None:
    artefact.append(rows("a", "b", value=1.0))
    artefact.append(rows("b", "c", value=1.0))
    assert artefact.read()["item_id"].to_pylist() == ["a", "b", "c"]


def test_items_of_one_id_in_two_benchmarks_are_two(artefact: Artefact) -> None:
    artefact.append(pa.table({"benchmark": ["x", "y"], "item_id": ["1", "1"]}))
    assert len(artefact.read()) == 2


def test_the_same_items_are_the_same_part(artefact: Artefact) -> None:
    assert artefact.append(rows("a", value=1.0)) == artefact.append(rows("a", value=2.0))
    assert artefact.read()["value"].to_pylist() == [2.0]


def test_only_the_columns_asked_for_are_read(artefact: Artefact) -> None:
    artefact.append(rows("a"))
    assert artefact.read(columns=[]).column_names == ["benchmark", "item_id"]
    assert artefact.read(columns=["value"]).column_names == ["benchmark", "item_id", "value"]


def test_traces_take_less_room_than_their_floats(artefact: Artefact) -> None:
    """Lists of floats are split by bytes; Parquet as it comes takes more than the floats."""
    entropies = np.random.default_rng(0).gamma(0.3, 0.5, (64, 200)).astype(np.float32)
    ids = [f"{n:02}" for n in range(64)]
    artefact.append(pa.table({"benchmark": ["b"] * 64, "item_id": ids, "entropy": list(entropies)}))
    assert len(artefact.store.read_bytes(artefact.parts()[0])) < entropies.nbytes
    assert np.array_equal(np.stack(artefact.read()["entropy"].to_pylist()), entropies)


def test_the_digest_changes_with_the_rows_there_are(artefact: Artefact) -> None:
    before = artefact.digest()
    artefact.append(rows("a"))
    once = artefact.digest()
    artefact.append(rows("a"))
    assert before != once == artefact.digest()
    artefact.append(rows("b"))
    assert artefact.digest() != once


def test_bytes_come_back_until_they_are_deleted(artefact: Artefact) -> None:
    store = artefact.store
    store.write_bytes("a/b.txt", b"x")
    assert store.read_bytes("a/b.txt") == b"x"
    assert store.exists("a/b.txt")
    assert not store.exists("a/c.txt")
    assert store.list("a") == ["a/b.txt"]
    assert store.list("none") == []
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    assert not store.exists("a/b.txt")


def test_parts_that_another_artefact_has_are_named(artefact: Artefact) -> None:
    made = artefact.store.artefact("made", "from", "it")
    first, second = artefact.append(rows("a", "b")), artefact.append(rows("c"))
    assert made.lacking(artefact) == sorted([first, second])
    made.append(rows("a", "b"), first)
    assert made.lacking(artefact) == [second]
    assert artefact.lacking(made) == []
    assert artefact.ids(first) == {"a", "b"}
    artefact.store.delete(f"{artefact.address}/{first}")
    assert artefact.lacking(made) == [first]
    assert artefact.done() == {"c"}


@pytest.fixture
def made(artefact: Artefact) -> Artefact:
    return Artefact(artefact.store, "made/from/it", source=artefact)


def test_a_part_made_from_what_was_replaced_is_missing_and_is_replaced(artefact, made) -> None:
    name, other = artefact.append(rows("a", "b")), artefact.append(rows("c"))
    for each in (name, other):
        origin = artefact.store.read_parquet(f"{artefact.address}/{each}", ["item_id"])
        made.follow(origin.append_column("benchmark", [["b"] * len(origin)]), each, origin)
    assert made.names() == artefact.names()
    assert not made.outdated([name, other])
    artefact.append(rows("a", "b"))
    assert made.lacking(artefact) == [name]
    assert made.done() == {"c"}
    assert made.outdated([name, other])
    assert not made.outdated([other])
    anew = artefact.store.read_parquet(f"{artefact.address}/{name}")
    made.follow(rows("a", "b", value=2.0), name, anew)
    assert made.lacking(artefact) == []
    assert made.read(["value"], [name])["value"].to_pylist() == [2.0, 2.0]


def test_what_was_first_made_from_a_part_stays(artefact, made) -> None:
    name = artefact.append(rows("a"))
    origin = artefact.store.read_parquet(artefact.parts()[0])
    for value in (1.0, 2.0):
        made.follow(rows("a", value=value), name, origin)
    assert made.read()["value"].to_pylist() == [1.0]


def test_what_was_made_from_a_part_that_is_gone_is_not_read(artefact, made) -> None:
    """And it is there again where that part comes back, as from a backup."""
    name = artefact.append(rows("a"))
    path = artefact.parts()[0]
    content = artefact.store.read_bytes(path)
    made.follow(rows("a"), name, artefact.store.read_parquet(path))
    artefact.store.delete(path)
    assert (made.names(), made.read(), made.done()) == ([], None, set())
    artefact.store.write_bytes(path, content)
    assert made.done() == {"a"}


def test_only_the_parts_named_are_read(artefact: Artefact) -> None:
    first, _ = artefact.append(rows("a")), artefact.append(rows("b"))
    assert artefact.read(names=[first])["item_id"].to_pylist() == ["a"]
    assert artefact.read(names=[]) is None


def test_a_person_is_shown_a_path_or_a_url(tmp_path: Path) -> None:
    assert Store(str(tmp_path)).local_path("x/y") == f"{tmp_path}/x/y"
    assert Store("memory://base").local_path("x/y") == "memory://base/x/y"


def test_a_full_disk_loses_nothing_that_was_written(local: Artefact, monkeypatch) -> None:
    local.append(rows("a"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SentinelError, match=r"cannot write kind/key/part-.*: No space left"):
            local.append(rows("b"))
    assert local.done() == {"a"}
    assert len(files(local.store)) == 1  # no scratch file is left behind
    local.append(rows("b"))
    assert local.done() == {"a", "b"}


def test_a_write_that_the_system_cuts_short_leaves_no_part(local: Artefact) -> None:
    """A real limit of the kernel, in a process of its own: files of at most 4 kB."""
    local.append(rows("a"))
    code = (
        "import resource, numpy as np, pyarrow as pa\n"
        "from tasks.storage.store import Store\n"
        "from tasks.errors import SentinelError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "table = pa.table({'benchmark': ['b'] * 9000, 'item_id': [str(i) for i in range(9000)],\n"
        "                  'value': np.random.rand(9000)})\n"
        "try:\n"
        f"    Store({local.store.root!r}).artefact('kind', 'key').append(table)\n"
        "except SentinelError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in done.stdout, done.stderr
    assert "what was written before is kept" in done.stdout
    assert local.done() == {"a"}
    assert len(files(local.store)) == 1


def test_an_object_store_that_refuses_is_told_in_the_same_words(tmp_path, monkeypatch) -> None:
    store = Store(f"memory://{tmp_path.name}")
    kind = type(fsspec.filesystem("memory"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kind, "_open", full)
    with pytest.raises(SentinelError, match=r"cannot write x under memory://.*No space left"):
        store.write_bytes("x", b"1")


def test_a_root_that_is_no_folder_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SentinelError, match=r"(?s)cannot write x .* -> free space or fix perm"):
        Store(str(tmp_path / "file")).write_bytes("x", b"1")


@pytest.mark.parametrize("damage", ["cut off", "emptied", "overwritten"])
def test_a_damaged_part_is_named_with_its_remedy(local: Artefact, damage: str) -> None:
    ids = [str(i) for i in range(2000)]
    values = np.random.default_rng(0).random(2000)
    name = local.append(pa.table({"benchmark": ["b"] * 2000, "item_id": ids, "value": values}))
    local.append(rows("whole"))
    path = Path(local.store.root, "kind", "key", name)
    content = bytearray(path.read_bytes())
    if damage == "overwritten":
        content[200:600] = bytes(400)
    path.write_bytes({"cut off": content[:900], "emptied": b"", "overwritten": content}[damage])
    with pytest.raises(SentinelError, match=rf"(?s)kind/key/{name} under .* is damaged.*delete"):
        local.read()
    path.unlink()
    assert local.done() == {"whole"}


def test_what_is_no_part_is_not_read(local: Artefact) -> None:
    name = local.append(rows("a"))
    folder = Path(local.store.root, "kind", "key")
    (folder / f"{name}.0123.tmp").write_bytes(b"half a part")
    (folder / "note.txt").write_text("by hand")
    assert local.done() == {"a"}


def test_processes_that_write_the_same_part_leave_one_whole_part(local: Artefact) -> None:
    code = (
        "import pyarrow as pa\n"
        "from tasks.storage.store import Store\n"
        f"artefact = Store({local.store.root!r}).artefact('kind', 'key')\n"
        "table = pa.table({'benchmark': ['b'] * 500, 'item_id': [str(i) for i in range(500)]})\n"
        "for _ in range(50):\n"
        "    artefact.append(table)\n"
        "    assert len(artefact.read()) == 500\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(files(local.store)) == 1
    assert len(local.read()) == 500


def test_a_reader_never_sees_half_a_part(local: Artefact, monkeypatch) -> None:
    """Until the last moment the part has another name."""
    seen = []
    rename = os.replace

    def watched(source: str, target: str) -> None:
        seen.append((local.parts(), os.path.getsize(source)))
        rename(source, target)

    monkeypatch.setattr(os, "replace", watched)
    local.append(rows("a"))
    (before, size) = seen[0]
    assert before == []
    assert size == files(local.store)[0].stat().st_size


def test_a_store_travels_to_other_processes(local: Artefact) -> None:
    local.append(rows("a"))
    assert pickle.loads(pickle.dumps(local)).done() == {"a"}


def test_what_was_written_once_stays(artefact: Artefact) -> None:
    name = artefact.append(rows("b", "a", value=1.0), once=True)
    assert artefact.append(rows("a", "b", value=2.0), once=True) == name
    assert artefact.read()["value"].to_pylist() == [1.0, 1.0]
    assert artefact.holds([("b", "b"), ("b", "a")])
    assert not artefact.holds([("b", "a")])
    assert len(artefact.parts()) == 1
