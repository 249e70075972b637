"""What can fail in the gateway. `api/errors.py` maps it to HTTP, `cli/errors.py` to exit codes."""

from collections.abc import Mapping


class GatewayError(Exception):
    """Root of the gateway's own errors."""


class SettingsInvalid(GatewayError):
    """A setting is wrong; the message names it."""


class ExtraMissing(GatewayError):
    """A library that an extra installs is not here; the message names the extra."""


class HomeMissing(GatewayError):
    """The home has not been made yet."""


class HomeUnusable(GatewayError):
    """The home cannot be written or read here."""


class AddressTaken(GatewayError):
    """Another process listens on the address."""


class GatewayNotStarted(GatewayError):
    """The gateway did not come up; the message says why."""


class ModelMissing(GatewayError):
    """No sealed model of that name is in the home."""


class CredentialInvalid(GatewayError):
    """A credential cannot be made with these names."""


class CredentialUnknown(GatewayError):
    """No credential of that name exists."""


class ChainBroken(GatewayError):
    """A link from an answer to its evidence does not hold; the message names it."""


class ClientMissing(GatewayError):
    """The openai client is not installed here."""


class FileUnreadable(GatewayError):
    """A file that a command was given cannot be read."""


class FileUnwritable(GatewayError):
    """A file that a command was to make cannot be written."""


class Unconfirmed(GatewayError):
    """Something that cannot be undone was not confirmed."""


class PeriodUnclear(GatewayError):
    """A report's period cannot be read; the message says how one is written."""


class ReportFailed(GatewayError):
    """A report could not be made; the message says why."""


class ReportUnknown(GatewayError):
    """No report of that id was asked for."""


class ScheduleExists(GatewayError):
    """There is such a schedule of reports already."""


class ScheduleUnknown(GatewayError):
    """There is no schedule of reports of that id."""


class IncidentUnknown(GatewayError):
    """The log tells of no incident of that id."""


class IncidentStepInvalid(GatewayError):
    """A step on an incident cannot be recorded; the message says why."""


class TuningImpossible(GatewayError):
    """Too little is recorded, or nothing better was found; the message says which."""


class RequestRefused(GatewayError):
    """A request that is answered with an error of OpenAI's envelope.

    status: HTTP status. kind: the envelope's `type`. param: the field at fault, or None.
    code: the envelope's machine-readable `code`, or None. retry_after_s: when trying again may
    help. should_retry: False tells clients that it will not. grounds: what the log's entry tells
    beside the code.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        grounds: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        self.grounds = grounds


class UpstreamFailed(RequestRefused):
    """A tier's endpoint gave no whole answer: 502 `tier_failed` where no other may give it.

    reason: `unreachable`, `overloaded`, `refused`, `rejected`, `garbage`, `other_model`, `stalled`,
    `cut` or `forbidden`. detail: what happened, without a word of the answer; for the operator.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(
            "The tier that was to answer failed, and no other may in its place. Send the request "
            "again.",
            status=502,
            kind="server_error",
            code="tier_failed",
        )
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        """Tell the operator, whose logs hold no answers, what the client is not told."""
        return f"A remote tier failed ({self.reason}): {self.detail}."
