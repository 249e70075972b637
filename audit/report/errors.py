"""What can be wrong with a report that is checked. Nothing here returns False."""

from audit.errors import AuditError


class ReportError(AuditError):
    """Root of the report's errors."""


class ReportUnsigned(ReportError):
    """The file is no PDF, or bears no signature that could be checked."""


class ReportForged(ReportError):
    """The file is not, to the last bit, what the deployment's report key signed."""


class ReportContradicted(ReportError):
    """A signed report says something else than the log, or its parts disagree."""


class CertificateMalformed(ReportError):
    """What was given as the report key's certificate is none."""
