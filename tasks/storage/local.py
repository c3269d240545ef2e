"""A local file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid


def write_local(target: str, content: bytes, once: bool) -> None:
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
