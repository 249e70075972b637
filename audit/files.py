"""Files that a reader meets whole or not at all, and that a power cut does not take back."""

import os
from collections.abc import Iterable
from pathlib import Path

from audit.errors import LogUnavailable


def write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file under another name, wait for the disk, and move it into place.

    Raises:
        LogUnavailable: It cannot be written; what was there before is untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be written: {error.strerror}.") from None
