"""Where a keyring's records lie: one authenticated file, read when it changed, replaced whole.

It authenticates and stores records; it does not know what the keys in them are for.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from privacy import records
from privacy.durability import exclusive, replace_file, sync_directory
from privacy.errors import KeyringExists, KeyringMissing, KeyringTampered, KeyringUnusable
from privacy.memory import LockedBytes
from privacy.records import Content, KeyringFile
from privacy.snapshot import Snapshot

FILE = "keyring.json"
_UNKNOWN = (0, 0, 0)


class Keystore:
    """The records in `directory`, written under a KEK. Safe to share between threads.

    reopen: gives the KEK of a custodian record, once another process has replaced it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kek: bytes,
        reopen: Callable[[Mapping[str, str | int]], bytes],
    ) -> None:
        self._directory = directory
        self.reopen = reopen
        self._kek = LockedBytes(kek)
        self._seen: tuple[tuple[int, int, int], Snapshot] | None = None

    def snapshot(self) -> Snapshot:
        """Return what the file says now, authenticated; it is read only after it was replaced.

        Raises:
            KeyringMissing, KeyringUnusable: It is gone, or cannot be read.
            KeyringTampered: It was changed from outside, or put back to an older state.
            KeyringLocked, CustodianUnusable: It has another KEK, which the custodian does not give.
        """
        seen = self._seen
        if seen is not None and _stamp(self._directory) == seen[0]:
            return seen[1]
        stamp, raw = read(self._directory)
        snapshot = self._authenticated(records.decode(raw), seen[1] if seen else None)
        if seen is not None and snapshot.content.revision < seen[1].content.revision:
            raise KeyringTampered(
                "The keyring's file was put back to an older one. Restore the newest."
            )
        self._seen = (stamp, snapshot)
        return snapshot

    def change(self, change: Callable[[Snapshot], Content]) -> Snapshot:
        """Replace the content with what `change` makes of it, no other writer in between.

        Returns what stands now.

        Raises:
            KeyringUnusable: It cannot be written; the old content stands.
        """
        return self.replace(lambda snapshot: Snapshot(change(snapshot), snapshot.kek))

    def replace(self, change: Callable[[Snapshot], Snapshot]) -> Snapshot:
        """Replace content and KEK with what `change` makes of them, as `change` does."""
        with self.lock("lock"):
            snapshot = self.snapshot()
            made = change(snapshot)
            content = replace(made.content, revision=snapshot.content.revision + 1)
            changed = Snapshot(content, made.kek)
            with _said(self._directory):
                replace_file(self._directory / FILE, records.encode(content, kek=made.kek.read()))
            # It is read again before it is used, but a file older than this one is refused.
            self._seen = (_UNKNOWN, changed)
            return changed

    def _authenticated(self, file: KeyringFile, seen: Snapshot | None) -> Snapshot:
        kek = seen.kek if seen else self._kek
        try:
            return Snapshot(records.authenticate(file, kek=kek.read()), kek)
        except KeyringTampered:
            if seen is not None and file.content.custodian == seen.content.custodian:
                raise
        # Another process has changed the custodian's record, and with it the KEK: since the last
        # look, or since this keyring was unlocked a moment ago.
        kek = LockedBytes(self.reopen(file.content.custodian))
        return Snapshot(records.authenticate(file, kek=kek.read()), kek)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock file of that name against every other thread and process."""
        with ExitStack() as stack:
            with _said(self._directory):
                stack.enter_context(exclusive(self._directory / name))
            yield


def create(directory: Path, content: Content, *, kek: bytes) -> None:
    """Place a new keyring; a crash leaves none or all of it.

    Raises:
        KeyringExists: The directory holds something already.
        KeyringUnusable: It cannot be written.
    """
    if directory.is_dir() and any(directory.iterdir()):
        raise _exists(directory)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.tmp")
    with _said(directory):
        directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.mkdir(mode=0o700)
        try:
            replace_file(temporary / FILE, records.encode(content, kek=kek))
            # Renaming a directory succeeds only over nothing or an empty one: of two creations
            # at once, one finds the other's keyring and fails.
            os.rename(temporary, directory)  # noqa: PTH104 - One way for files: os.
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise _exists(directory) from None
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_directory(directory.parent)


def read(directory: Path) -> tuple[tuple[int, int, int], bytes]:
    """Return the file's stamp and bytes.

    Raises:
        KeyringMissing: There is no keyring.
        KeyringUnusable: It cannot be read.
    """
    with _said(directory), (directory / FILE).open("rb") as file:
        return _stamp_of(os.fstat(file.fileno())), file.read()


def watch(directory: Path) -> Callable[[], Hashable]:
    """Return what identifies the file's version, for who holds what was made from it.

    What it gives for a file that cannot be looked at is never alike.
    """
    path = str(directory / FILE)

    def version() -> Hashable:
        try:
            return _stamp_of(os.stat(path))  # noqa: PTH116 - once a request.
        except OSError:
            return object()

    return version


def _stamp(directory: Path) -> tuple[int, int, int]:
    with _said(directory):
        return _stamp_of((directory / FILE).stat())


def _stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    """Identify one version of the file: every replacement has another inode or time."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def _exists(directory: Path) -> KeyringExists:
    return KeyringExists(f"{directory} holds a keyring already. Use it, or choose another home.")


@contextmanager
def _said(directory: Path) -> Iterator[None]:
    """Turn the system's error into one that says what to do."""
    try:
        yield
    except FileNotFoundError:
        raise KeyringMissing(f"{directory} holds no keyring. Run `sealgate init` first.") from None
    except OSError as error:
        raise KeyringUnusable(
            f"The keyring in {directory} cannot be used: {error.strerror}. Mend that and try again."
        ) from None
