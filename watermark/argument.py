"""What a request to vLLM carries for its mark: one argument, a key and an id.

Written by a gateway and read by the processor (`watermark.vllm`), each of which imports nothing of
the other.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from watermark.errors import KeyMalformed
from watermark.keys import KEY_BYTES

# Its name in `vllm_xargs`.
ARGUMENT = "sealgate_mark"
_ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """What one request is marked with. trace_id: 32 bits."""

    key: bytes = field(repr=False)
    trace_id: int = field(repr=False)


def packed(mark: Mark) -> str:
    """Return a mark as `vllm_xargs` carries it: base64url of the key, then the id."""
    return base64.urlsafe_b64encode(mark.key + mark.trace_id.to_bytes(_ID_BYTES, "big")).decode()


def unpacked(text: Any) -> Mark:
    """Read what `packed` wrote.

    Raises:
        KeyMalformed: It is not that. The message quotes nothing.
    """
    try:
        data = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
    except (AttributeError, binascii.Error, UnicodeEncodeError):
        data = b""
    if len(data) != KEY_BYTES + _ID_BYTES:
        raise KeyMalformed(f"{ARGUMENT} is no mark of Sealgate's.")
    return Mark(data[:KEY_BYTES], int.from_bytes(data[KEY_BYTES:], "big"))
