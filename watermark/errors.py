"""What can fail in the watermark."""


class WatermarkError(Exception):
    """Root of the watermark's own errors."""


class KeyMalformed(WatermarkError):
    """A mark key or seed has the wrong length, or a trace id more than 32 bits."""


class TokenOutOfRange(WatermarkError):
    """A token id does not fit the 18 bits that this version of the mark has for it."""


class NoCandidate(WatermarkError):
    """There is nothing to draw from: no candidate has a probability above zero."""


class ReceiptInvalid(WatermarkError):
    """A receipt is malformed, or not what its key signed, or not of this text."""
