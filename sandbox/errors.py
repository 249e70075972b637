"""What can fail around a worker. Every error of one request carries that worker's attestation."""

from collections.abc import Mapping
from typing import Any


class SandboxError(Exception):
    """Root of this package's errors.

    attestation: what is known of the worker that ended, or None if there was none.
    """

    def __init__(self, message: str, *, attestation: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.attestation = attestation


def words(error: BaseException) -> bytes:
    """Name an error; only our own ones carry a sentence, which holds no value. UTF-8."""
    name = type(error).__name__
    text = f"{name}: {error}" if isinstance(error, SandboxError | OSError) else name
    return text.encode()[:200]


class SandboxUnavailable(SandboxError):
    """This kernel lacks a wall that is required. The message names it."""


class ZygoteFailed(SandboxError):
    """The process that holds the weights did not come up, or died."""


class WorkerDied(SandboxError):
    """A worker ended before its answer did."""


class CallRefused(WorkerDied):
    """A worker made a system call outside its list and was killed for it."""


class GrammarRefused(WorkerDied):
    """The grammar that an answer was to follow is none, or is too large."""


class DeadlinePassed(SandboxError):
    """A worker was killed at its deadline."""


class FrameInvalid(SandboxError):
    """The other side of a socket sent something that is not the protocol."""
