"""The form of proof documents: JSON of known members, with hashes and entries in base64.

What they prove is `audit.proof`'s.
"""

import base64
import binascii
import json
from typing import Any

from audit.errors import ProofInvalid
from audit.merkle import HASH_BYTES

DOCUMENT_LIMIT_BYTES = 16 << 20


def fields_of(document: str | bytes, form: str, members: dict[str, type]) -> dict[str, Any]:
    """Read a document that has exactly these members, of these types, beside its format.

    Raises:
        ProofInvalid: It is of another form, here and below.
    """
    if len(document) > DOCUMENT_LIMIT_BYTES:
        raise ProofInvalid("The document is too long.")
    try:
        fields = json.loads(document, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ProofInvalid("The document is not JSON.") from None
    if not isinstance(fields, dict) or fields.get("format") != form:
        raise ProofInvalid(f"The document is not a {form}.")
    right = set(fields) == {"format", *members}
    if not right or any(not isinstance(fields[name], kind) for name, kind in members.items()):
        raise ProofInvalid(f"The document has other members than a {form}.")
    return fields


def hash_of(text: Any) -> bytes:
    """Read a SHA-256, 32 bytes."""
    data = bytes_of(text)
    if len(data) != HASH_BYTES:
        raise ProofInvalid("A hash of the proof is malformed.")
    return data


def bytes_of(text: Any) -> bytes:
    """Read base64 that is written in the one way there is."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        data = b""
    if base64_of(data) != text:
        raise ProofInvalid("The document holds malformed base64.")
    return data


def base64_of(data: bytes) -> str:
    """Return the base64 that `bytes_of` reads."""
    return base64.b64encode(data).decode()


def text_of(document: dict[str, Any]) -> str:
    """Return a document as it leaves the house."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: readers differ on which one counts."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ProofInvalid("A name comes twice in the document.")
    return dict(pairs)
