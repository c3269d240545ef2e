"""The artefact store: content-addressed folders of Parquet parts under one fsspec root.

A root is a local folder or an object store (``s3://bucket/path``). An artefact grows by *parts*,
each written whole or not at all, so a killed job loses at most the part it was computing and a
reader never sees half of one. The part's name is a hash of its keys: two runs that compute the
same items write the same file instead of doubling rows.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import SentinelError
from tasks.records import KEY
from tasks.storage.keys import digest

_PART = "part-"
_SCHEMA_METADATA = (b"record", b"schema_version")


@dataclass(frozen=True)
class Artefact:
    """A keyed table in parts at ``address`` (root-relative, stable across machines)."""

    store: Store
    address: str

    def append(self, table: pa.Table, name: str | None = None, *, once: bool = False) -> str:
        """Write ``table`` as one more part, atomically; returns the part's name.

        Parameters
        ----------
        name : str, optional
            That of the part of another artefact which ``table`` was made from; by default it
            follows from the keys.
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
        self.store.write_table(f"{self.address}/{name}", table, once=once)
        return name

    def holds(self, keys: Iterable[tuple[str, str]]) -> bool:
        """Whether there is a part with exactly these keys."""
        return self.store.exists(f"{self.address}/{part_name(keys)}")

    def parts(self) -> list[str]:
        """Root-relative paths of the parts, sorted."""
        return sorted(p for p in self.store.list(self.address) if _is_part(p))

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

    def delete(self, name: str) -> None:
        """Delete one part; nothing happens where there is none."""
        self.store.delete(f"{self.address}/{name}")

    def read(self, columns: Sequence[str] | None = None) -> pa.Table | None:
        """All rows, each key once and sorted by key; ``None`` where nothing was written yet."""
        wanted = None if columns is None else list(dict.fromkeys((*KEY, *columns)))
        tables = [self.store.read_parquet(part, wanted) for part in self.parts()]
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
                _write_local(target, content, once)
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
        fs, base = self._fs()
        with _reading(self.root):
            file = fs.open(f"{base}/{path}", "rb")
        try:
            with file:
                return pq.read_table(file, columns=columns)
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:  # Arrow tells a broken page as an OSError.
            raise SentinelError(
                f"{path} under {self.root} is damaged: {error}",
                "delete that file and rerun; only its items are computed again",
            ) from error

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


def _write_local(target: str, content: bytes, once: bool) -> None:
    """Write beside the target and rename into place, so that a reader sees all or nothing."""
    scratch = f"{target}.{uuid.uuid4().hex}.tmp"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not once or not _link(scratch, target):
            os.replace(scratch, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(scratch)


def _link(scratch: str, target: str) -> bool:
    """Name the file ``target`` unless there is one; false where the file system has no links."""
    try:
        os.link(scratch, target)
    except FileExistsError:
        return True
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        return os.path.exists(target)
    return True


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
