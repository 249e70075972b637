"""What can fail in the log. A check that fails raises one of these; it never returns False."""


class AuditError(Exception):
    """Root of the log's errors."""


class EventInvalid(AuditError):
    """An event breaks docs/formats/event-v1.md; nothing was written."""


class EventConflict(AuditError):
    """Another event with the same uid is in the log already; nothing was written."""


class LogUnavailable(AuditError):
    """The log cannot take or give entries now; what waits on it must not go on."""


class LogTampered(AuditError):
    """The stored log is not the one that was written.

    index: the first entry that cannot be trusted, or None where no single entry is to blame.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class CheckpointInvalid(AuditError):
    """A checkpoint is malformed, of another log, or not signed by the log's key."""


class ProofInvalid(AuditError):
    """A proof does not prove what it claims."""


class RequestUnknown(AuditError):
    """The log holds no entry of that request."""


class TileUnknown(AuditError):
    """The log has no tile of that path, or not yet."""


class AnchorFailed(AuditError):
    """A checkpoint did not reach its other place; the log itself is not at fault."""


class PruningRefused(AuditError):
    """Entries may not be pruned: they are not sealed, not exported, or under a legal hold."""


class HoldInForce(AuditError):
    """A legal hold forbids it."""


class ContentUnknown(AuditError):
    """No such content is kept, or its subject was shredded."""


class PeriodUnsealable(AuditError):
    """A month cannot be sealed now."""
