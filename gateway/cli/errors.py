"""The one place where errors become exit codes.

0 good; 1 the check failed or something was tampered with; 2 usage, or something is incomplete;
3 this environment cannot, and the message names what is missing.
"""

from audit.controls.errors import ControlsError, EventMalformed
from audit.errors import (
    AnchorFailed,
    AuditError,
    ContentUnknown,
    HoldInForce,
    LogUnavailable,
    PeriodUnsealable,
    PruningRefused,
    RequestUnknown,
    TileUnknown,
)
from gateway.errors import (
    AddressTaken,
    ChainBroken,
    ClientMissing,
    ExtraMissing,
    FileUnwritable,
    GatewayError,
    GatewayNotStarted,
    HomeMissing,
    HomeUnusable,
)
from gateway.models.errors import (
    CompressionImpossible,
    CompressionUnavailable,
    ModelError,
    ModelUnfetchable,
    ModelUnknown,
    ModelUnreadable,
    ModelUnsupported,
)
from privacy.errors import (
    BackupUnusable,
    CustodianUnusable,
    DestructionUnconfirmed,
    KeyDestroyed,
    KeyInUse,
    KeyringExists,
    KeyringMissing,
    KeyringUnusable,
    KeyUnknown,
    LibraryMissing,
    ModelUnsealable,
    PrivacyError,
    SealMissing,
    SealUnwritable,
    TransitionForbidden,
)
from privacy.training.errors import (
    AccountUnknown,
    ConfigInvalid,
    LedgerUnavailable,
    PlanInvalid,
    RunUnknown,
    TrainingUnavailable,
)
from sandbox.errors import SandboxError, SandboxUnavailable
from watermark.errors import WatermarkError

KNOWN = (
    AuditError,
    ControlsError,
    GatewayError,
    ModelError,
    PrivacyError,
    SandboxError,
    WatermarkError,
)

FAILED = 1
USAGE = 2
CANNOT = 3

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (SandboxUnavailable, CANNOT),
    (ClientMissing, CANNOT),
    (ExtraMissing, CANNOT),
    (FileUnwritable, CANNOT),
    (ChainBroken, FAILED),
    (AddressTaken, CANNOT),
    (HomeUnusable, CANNOT),
    (LogUnavailable, CANNOT),
    (GatewayNotStarted, CANNOT),
    (HomeMissing, USAGE),
    (AnchorFailed, CANNOT),
    (RequestUnknown, USAGE),
    (TileUnknown, USAGE),
    (HoldInForce, USAGE),
    (PruningRefused, USAGE),
    (PeriodUnsealable, USAGE),
    (ContentUnknown, USAGE),
    (ModelUnfetchable, CANNOT),
    (ModelUnknown, USAGE),
    (ModelUnreadable, USAGE),
    (ModelUnsupported, USAGE),
    (CompressionImpossible, USAGE),
    (CompressionUnavailable, CANNOT),
    (KeyringExists, USAGE),
    (KeyringMissing, USAGE),
    (KeyringUnusable, CANNOT),
    (CustodianUnusable, CANNOT),
    (LibraryMissing, CANNOT),
    (KeyDestroyed, FAILED),
    (BackupUnusable, FAILED),
    (KeyUnknown, USAGE),
    (KeyInUse, USAGE),
    (TransitionForbidden, USAGE),
    (DestructionUnconfirmed, USAGE),
    (ModelUnsealable, USAGE),
    (TrainingUnavailable, CANNOT),
    (LedgerUnavailable, CANNOT),
    (ConfigInvalid, USAGE),
    (PlanInvalid, USAGE),
    (AccountUnknown, USAGE),
    (RunUnknown, USAGE),
    (SealMissing, USAGE),
    (SealUnwritable, CANNOT),
    (GatewayError, USAGE),
    (EventMalformed, FAILED),
    (ControlsError, USAGE),
)


def exit_code(error: Exception) -> int:
    """Return the exit code of a known error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return FAILED
