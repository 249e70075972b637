"""Files that a crash leaves old or new, never between. Holds nothing of what is in them."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file at `path` durably. Its writers exclude each other by a lock of theirs."""
    remove_leftovers(path)
    temporary = temporary_beside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        move_into_place(temporary, path)
    except BaseException:
        # What failed is the error to raise; a leftover goes at the next write.
        with suppress(OSError):
            temporary.unlink()
        raise


def temporary_beside(path: Path) -> Path:
    """Name a temporary file in the same directory, so that a rename can put it in place."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what crashed writers of `path` left beside it."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename durably. The temporary file's own content must have been synced."""
    os.replace(temporary, path)  # noqa: PTH105 - One module, one way: os, as for open and fsync.
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames inside the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file against every other thread and process; it frees itself with its holder."""
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
