"""The artefact store: content-addressed folders of Parquet parts under one fsspec root.

A root is a local folder or an object store (``s3://bucket/path``). An artefact grows by *parts*,
each written whole or not at all, so a killed job loses at most the part it was computing and a
reader never sees half of one. The part's name is a hash of its keys: two runs that compute the
same items write the same file instead of doubling rows.

Every part has an identity of its own in its footer, and a part that was made from another says
which one. So what was made from responses that were since lost and answered anew is seen to be out
of date by everyone, whoever made it and whoever answered.
"""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import SentinelError
from tasks.records import KEY
from tasks.storage.keys import digest
from tasks.storage.local import write_local

_Read = TypeVar("_Read")

_PART = "part-"
_SCHEMA_METADATA = (b"record", b"schema_version")

# Of a part: its own identity, and that of the part it was made from. Parts stored before there were
# identities have neither.
_IDENTITY = b"sentinel.part"
_MADE_FROM = b"sentinel.made_from"

# Footers read at once: an object store answers each of them late, but many together.
_READERS = 16


@dataclass(frozen=True)
class Artefact:
    """A keyed table in parts at ``address`` (root-relative, stable across machines).

    One that is made from a ``source`` part by part has only the parts that were made from those the
    source has now. A part made from another one of that name counts as missing and is replaced.
    """

    store: Store
    address: str
    source: Artefact | None = None

    def append(self, table: pa.Table, name: str | None = None, *, once: bool = False) -> str:
        """Write ``table`` as one more part, atomically; returns the part's name.

        Parameters
        ----------
        name : str, optional
            By default it follows from the keys.
        once : bool
            Leave a part of that name as it is: another run was faster, and what was computed from
            its rows has to go on fitting them.

        Raises
        ------
        SentinelError
            If the root cannot be written (a full disk, no permission). Earlier parts are intact.
        """
        table = table.sort_by([(column, "ascending") for column in KEY])
        if name is None:
            keys = (table.column(column).to_pylist() for column in KEY)
            name = part_name(zip(*keys, strict=True))
        table = _saying(table, {_IDENTITY: uuid.uuid4().hex.encode()})
        self.store.write_table(f"{self.address}/{name}", table, once=once)
        return name

    def follow(self, table: pa.Table, name: str, origin: pa.Table) -> None:
        """Write ``table``, made from the source's part ``name``, unless it was written before.

        What another run made from the same part stays, as it may have been used already. What was
        made from a former part of that name is replaced.

        Parameters
        ----------
        origin : table
            The source's part as it was read; any of its columns.

        Raises
        ------
        SentinelError
            As :meth:`append`.
        """
        path, identity = f"{self.address}/{name}", (origin.schema.metadata or {}).get(_IDENTITY)
        table = table.sort_by([(column, "ascending") for column in KEY])
        table = _saying(table, {} if identity is None else {_MADE_FROM: identity})
        (there,) = self.store.metadata([path])
        current = there is None or there.get(_MADE_FROM) == identity
        self.store.write_table(path, table, once=current)

    def holds(self, keys: Iterable[tuple[str, str]]) -> bool:
        """Whether there is a part with exactly these keys."""
        return self.store.exists(f"{self.address}/{part_name(keys)}")

    def parts(self) -> list[str]:
        """Root-relative paths of the parts, sorted; with a source, reads the footers of both.

        Raises
        ------
        SentinelError
            If there is a source, and a part of it or made from it is damaged.
        """
        stored = sorted(p for p in self.store.list(self.address) if _is_part(p))
        if self.source is None or not stored:
            return stored
        origins = [f"{self.source.address}/{p.rsplit('/', 1)[-1]}" for p in stored]
        footers = self.store.metadata([*stored, *origins])
        return [
            path
            for path, made, origin in zip(stored, footers, footers[len(stored) :], strict=False)
            if made is not None
            and origin is not None
            and made.get(_MADE_FROM) == origin.get(_IDENTITY)
        ]

    def outdated(self, names: Iterable[str]) -> bool:
        """Whether any of these parts was made, but not from what the source has now."""
        stored = {p.rsplit("/", 1)[-1] for p in self.store.list(self.address)}
        return bool(stored.intersection(names) - set(self.names()))

    def names(self) -> list[str]:
        """Names of the parts, sorted."""
        return [p.rsplit("/", 1)[-1] for p in self.parts()]

    def lacking(self, other: Artefact) -> list[str]:
        """Names of the parts that ``other`` has and this artefact has not.

        Where this one is made from the other part by part, that is what is still to be done.
        """
        have = set(self.names())
        return [name for name in other.names() if name not in have]

    def ids(self, name: str) -> set[str]:
        """Ids of the items in one part."""
        part = self.store.read_parquet(f"{self.address}/{name}", ["item_id"])
        return set(part["item_id"].to_pylist())

    def read(
        self, columns: Sequence[str] | None = None, names: Iterable[str] | None = None
    ) -> pa.Table | None:
        """All rows, each key once and sorted by key; ``None`` where nothing was written yet.

        Of a key that several parts hold, the row of the first part by name counts. So artefacts
        read by the same ``names`` of parts, and no others, give rows that belong together.
        """
        wanted = None if columns is None else list(dict.fromkeys((*KEY, *columns)))
        chosen = self.names() if names is None else sorted(names)
        tables = [self.store.read_parquet(f"{self.address}/{name}", wanted) for name in chosen]
        if not tables:
            return None
        whole = pa.concat_tables(tables, promote_options="permissive")
        # What a part says of itself is not said of all of them together.
        about = whole.schema.metadata or {}
        shared = {name: value for name, value in about.items() if name in _SCHEMA_METADATA}
        return _distinct(whole.replace_schema_metadata(shared))

    def done(self) -> set[str]:
        """Ids of the items that are already there."""
        table = self.read(columns=())
        return set() if table is None else set(table.column("item_id").to_pylist())

    def digest(self) -> str:
        """Digest of which parts there are: changes when, and only when, rows are added."""
        return digest(self.names())


@dataclass(frozen=True)
class Store:
    """Reads and writes under ``root``. Cheap to make, safe to pickle and to share by threads."""

    root: str

    def artefact(self, *parts: str) -> Artefact:
        """The artefact at ``parts`` joined by slashes."""
        return Artefact(self, "/".join(parts))

    def write_bytes(self, path: str, content: bytes, *, once: bool = False) -> None:
        """Write a file whole or not at all; with ``once``, only where there is none yet."""
        fs, base = self._fs()
        target = f"{base}/{path}"
        try:
            if _is_local(fs):
                write_local(target, content, once)
            else:
                # One request that takes effect as a whole, or a multipart upload that does so at
                # its last step. A file object would complete its upload even after an error.
                fs.pipe_file(target, content, mode="create" if once else "overwrite")
        except Exception as error:
            if once and isinstance(error, FileExistsError) and not _is_local(fs):
                return
            if _is_local(fs) and not isinstance(error, OSError):
                raise
            raise SentinelError(
                f"cannot write {path} under {self.root}: {_reason(error)}",
                "free space or fix permissions, then rerun: what was written before is kept",
            ) from error

    def delete(self, path: str) -> None:
        """Delete a file; nothing happens where there is none."""
        fs, base = self._fs()
        try:
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(f"{base}/{path}")
        except Exception as error:
            raise SentinelError(
                f"cannot delete {path} under {self.root}: {_reason(error)}",
                "fix permissions, then rerun",
            ) from error

    def write_table(self, path: str, table: pa.Table, *, once: bool = False) -> None:
        """Write a table as one Parquet file, as :meth:`write_bytes` does."""
        self.write_bytes(path, _parquet(table), once=once)

    def read_bytes(self, path: str) -> bytes:
        """Content of a file; ``FileNotFoundError`` where there is none."""
        fs, base = self._fs()
        with _reading(self.root):
            return bytes(fs.cat_file(f"{base}/{path}"))

    def read_parquet(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Table in one Parquet file; a damaged file is an error that says what to delete."""
        return self._parquet(path, lambda file: pq.read_table(file, columns=columns))

    def _parquet(self, path: str, read: Callable[[IO[bytes]], _Read]) -> _Read:
        fs, base = self._fs()
        with _reading(self.root):
            file = fs.open(f"{base}/{path}", "rb")
        try:
            with file:
                return read(file)
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:  # Arrow tells a broken page as an OSError.
            raise SentinelError(
                f"{path} under {self.root} is damaged: {error}",
                "delete that file and rerun; only its items are computed again",
            ) from error

    def metadata(self, paths: Sequence[str]) -> list[Mapping[bytes, bytes] | None]:
        """What Parquet files say of themselves, by their footers; ``None`` where there is none."""
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._footer, paths))

    def _footer(self, path: str) -> Mapping[bytes, bytes] | None:
        try:
            return self._parquet(path, lambda file: pq.read_schema(file).metadata or {})
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder at ``path``."""
        fs, base = self._fs()
        with _reading(self.root):
            return bool(fs.exists(f"{base}/{path}"))

    def list(self, folder: str) -> list[str]:
        """Root-relative paths of the files directly in ``folder``; empty where there is none."""
        fs, base = self._fs()
        try:
            with _reading(self.root):
                found = fs.ls(f"{base}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return [f"{folder}/{str(p).rstrip('/').rsplit('/', 1)[-1]}" for p in found]

    def local_path(self, path: str) -> str:
        """Path of ``path`` for a person to open: absolute locally, a URL elsewhere."""
        fs, base = self._fs()
        return f"{base}/{path}" if _is_local(fs) else f"{self.root.rstrip('/')}/{path}"

    def _fs(self) -> tuple[fsspec.AbstractFileSystem, str]:
        # Listings would be cached by some file systems, and another process may be writing.
        try:
            fs, base = fsspec.core.url_to_fs(self.root, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise SentinelError(
                f"the root {self.root} cannot be used: {error}",
                "check SENTINEL_ROOT; object stores need their fsspec package, as s3fs for s3://",
            ) from None
        return fs, str(base).rstrip("/")


@contextlib.contextmanager
def _reading(root: str) -> Iterator[None]:
    """Tell a store that does not answer, or refuses, as a :class:`SentinelError`."""
    try:
        yield
    except (FileNotFoundError, SentinelError):
        raise
    except Exception as error:
        raise SentinelError(
            f"cannot read {root}: {_reason(error)}",
            "check that the store answers and that this machine may read it, then rerun",
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).strip() or type(error).__name__


def _is_local(fs: fsspec.AbstractFileSystem) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _parquet(table: pa.Table) -> bytes:
    """The table as a Parquet file.

    Lists of floats, nearly all of a trace, hardly repeat: Parquet's dictionary of them takes more
    room than they do. Split by the rank of their bytes they compress to three fifths of that.
    """
    lists = [
        f.name
        for f in table.schema
        if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)
    ]
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        use_dictionary=[name for name in table.column_names if name not in lists],
        use_byte_stream_split=[f"{name}.list.element" for name in lists],
    )
    return buffer.getvalue()


def _saying(table: pa.Table, about: Mapping[bytes, bytes]) -> pa.Table:
    """The table with this added to what it says of itself, and without another part's identity."""
    said = table.schema.metadata or {}
    kept = {name: value for name, value in said.items() if name not in (_IDENTITY, _MADE_FROM)}
    return table.replace_schema_metadata({**kept, **about})


def part_name(keys: Iterable[tuple[str, str]]) -> str:
    """Name of the part that holds exactly these keys, in whatever order."""
    return f"{_PART}{digest(sorted(keys))}.parquet"


def _is_part(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.startswith(_PART) and name.endswith(".parquet")


def _distinct(table: pa.Table) -> pa.Table:
    """Rows sorted by key, the first of each key: overlapping runs may have written one twice."""
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in KEY])
    table = table.take(order)
    if len(table) < 2:
        return table
    same = [
        pc.equal(table[name].combine_chunks()[1:], table[name].combine_chunks()[:-1])
        for name in KEY
    ]
    keep = pc.invert(pc.and_(*same))
    return table.filter(pa.concat_arrays([pa.array([True]), keep]))
