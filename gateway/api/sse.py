"""Server-sent events as bytes (WHATWG HTML, 9.2.6): one `data:` line and a blank line each."""

DONE = b"data: [DONE]\n\n"


def event(payload: bytes) -> bytes:
    """Frame one JSON payload, which must hold no raw line break."""
    return b"data: " + payload + b"\n\n"
