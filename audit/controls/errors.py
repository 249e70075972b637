"""What can be wrong with a catalogue, or with what is to be examined."""


class ControlsError(Exception):
    """Root of this package's errors."""


class FrameworkUnknown(ControlsError):
    """No catalogue exists for the framework that was asked for."""


class CatalogueMalformed(ControlsError):
    """A catalogue file contradicts its own format."""


class PeriodInvalid(ControlsError):
    """The period has no zone, or ends before it starts."""


class EventMalformed(ControlsError):
    """An entry is not an event of docs/formats, or its index was given twice."""


class FactsMalformed(ControlsError):
    """A fact about the system has the wrong type."""
