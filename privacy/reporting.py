"""What the key broker answers of keys, and signs, for the reports of a serving gateway.

One document key can be asked for, that of reports: the broker signs no other kind of document.
"""

import json

from privacy import calls
from privacy.calls import Answer, ReportCall
from privacy.errors import KeyUnknown
from privacy.keyring import Keyring
from privacy.snapshot import number, reference

DOCUMENT = "report"


def answered(keyring: Keyring, call: ReportCall, *, message: bytes) -> tuple[Answer, bytes]:
    """Answer one call. message: what `sign_document` is to sign.

    Raises:
        KeyUnknown: Another key than that of reports is named, or there is none yet.
    """
    match call:
        case calls.History(name):
            return Answer(), b"".join(keyring.history(name))
        case calls.ListKeys():
            return Answer(), json.dumps(_listed(keyring)).encode()
        case calls.DocumentKey(name):
            key = keyring.document_key(_require_report(name))
            return Answer(value=key.created_s), key.public
        case calls.SignDocument(name):
            return Answer(), keyring.sign_document(message, _require_report(name))


def _listed(keyring: Keyring) -> list[dict[str, str | int]]:
    return [
        {
            "name": str(reference(key)),
            "created_s": key.created_s,
            "epoch": number(key),
            "state": key.state,
        }
        for key in keyring.snapshot().every()
    ]


def _require_report(name: str) -> str:
    if name != DOCUMENT:
        raise KeyUnknown(f"The key broker signs no such document. Name {DOCUMENT}.")
    return name
