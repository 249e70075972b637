"""A request's inclusion proof, checked before it is shown, and its receipt."""

import asyncio
import json
from collections.abc import Sequence

from starlette.responses import Response

from audit.checkpoint import VerifierKey
from audit.errors import LogTampered, LogUnavailable, ProofInvalid, RequestUnknown
from audit.proof import Proved, prove, verify_proof
from gateway.console.pages.events import line
from gateway.console.visit import Visit
from gateway.errors import RequestRefused

OPERATION = "audit.prove"


async def show(visit: Visit) -> Response:
    """Show what the proof holds, step by step."""
    request_id, document = await _document(visit)
    keys = await asyncio.to_thread(visit.console.desk.keys.broker.public_keys, "checkpoint")
    proved = await asyncio.to_thread(_verified, document, visit, keys)
    return visit.page(
        "proof.html",
        request=request_id,
        lines=[line(entry.index, entry.event) for entry in proved.entries],
        size=proved.checkpoint.size,
        root=proved.checkpoint.root.hex(),
        paths=_paths(document),
        verifier=VerifierKey(visit.gateway.settings.origin, keys[0]).encode(),
    )


async def document(visit: Visit) -> Response:
    """Return the proof document itself, for somebody who is to check it elsewhere."""
    request_id, found = await _document(visit)
    return _download(found.encode(), f"{request_id}.proof.json", "application/json")


async def receipt(visit: Visit) -> Response:
    """Return a signed receipt for the outcome of a request."""
    request_id = visit.request.path_params["request_id"]
    visit.console.pace.take(visit.principal.credential_id)
    try:
        made = await asyncio.to_thread(visit.gateway.receipt, request_id)
    except RequestUnknown:
        raise _unknown() from None
    await visit.record("receipts.get", {"request": request_id})
    return _download(made.encode(), f"{request_id}.receipt.jws", "application/jose")


async def _document(visit: Visit) -> tuple[str, str]:
    request_id: str = visit.request.path_params["request_id"]
    try:
        found = await asyncio.to_thread(prove, visit.gateway.log, request_id)
    except RequestUnknown:
        raise _unknown() from None
    except LogTampered as error:
        raise LogUnavailable(f"The log contradicts itself. {error}") from error
    await visit.record(OPERATION, {"request": request_id})
    return request_id, found


def _verified(document: str, visit: Visit, keys: Sequence[bytes]) -> Proved:
    """Check our own proof under the keys that are trusted now: none is shown that does not hold."""
    origin = visit.gateway.settings.origin
    try:
        return verify_proof(document, origin=origin, public_key=keys[0], earlier=keys[1:])
    except ProofInvalid as error:
        raise LogUnavailable("The log's own proof does not hold.") from error


def _paths(document: str) -> list[list[str]]:
    """Return each entry's hashes up to the root, as the document has them."""
    entries = json.loads(document)["entries"]
    return [_hashes(each["proof"]) for each in entries]


def _hashes(proof: str) -> list[str]:
    """Return the hashes of a C2SP tlog-proof: the lines after the index, up to the blank one."""
    lines = proof.split("\n")
    return lines[2 : lines.index("")]


def _download(content: bytes, name: str, kind: str) -> Response:
    return Response(
        content,
        media_type=kind,
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _unknown() -> RequestRefused:
    return RequestRefused(
        "The log holds no request of that id.", status=404, code="request_not_found"
    )
