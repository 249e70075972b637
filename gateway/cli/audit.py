"""`sealgate audit`: verify the log, prove an entry of it, check a proof without the log."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from audit.publication import Published, verify_tiles
from audit.verify import (
    Consistency,
    LogReport,
    Proved,
    is_consistency,
    prove,
    verify_consistency,
    verify_proof,
)
from gateway.cli import anchoring, oversight, retention, searching
from gateway.cli.output import (
    HomeOption,
    JsonOption,
    print_json,
    print_lines,
    read_file,
    write_file,
)
from gateway.cli.session import Session, inspected, opened
from gateway.cli.trust import trusted, verified_log, verified_proof, verifier_key

app = typer.Typer(
    help="The log: verify, prove, anchor, search, review, export, keep.", no_args_is_help=True
)
for name, command in (
    ("consistency", anchoring.consistency_since),
    ("anchor", anchoring.anchor),
    ("search", searching.search_entries),
    ("disclosures", searching.account),
    ("export", searching.export),
    ("seal", retention.seal),
    ("prune", retention.prune),
    ("hold", retention.hold),
    ("lift", retention.lift),
    ("holds", retention.list_holds),
    ("content", retention.content),
    ("expire", retention.expire),
    ("shred", retention.shred),
    ("review", oversight.review),
    ("disclose", oversight.disclose),
):
    app.command(name)(command)


VkeyOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Verifier key; the home's own if absent. Nothing else is needed. Again for each "
        "key from before a rotation."
    ),
]


@app.command()
def verify(
    *,
    tiles: Annotated[
        Path | None,
        typer.Option(help="Directory of published tiles, or a copy of one, to check instead."),
    ] = None,
    vkey: VkeyOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the whole log: bytes, tree, checkpoints, anchors. Exit code 1 if any is wrong."""
    if tiles is not None:
        _print_published(verify_tiles(tiles, **trusted(vkey, home)), as_json=as_json)
        return
    if vkey is not None:
        raise typer.BadParameter("--vkey goes with --tiles: a home's log has a key of its own.")
    with inspected(home) as session:
        key = verifier_key(session)
        report = verified_log(session)
        anchored = anchoring.checked(session)
    if as_json:
        print_json(
            asdict(report)
            | {"verified": True, "vkey": key.encode()}
            | {"anchored": bool(anchored), "anchors": [asdict(each) for each in anchored]}
        )
        return
    print_lines(
        _summary(report),
        f"root          {report.root}",
        f"verifier key  {key.encode()}",
        *anchoring.lines(anchored),
    )


@app.command("prove")
def prove_request(
    request_id: Annotated[str, typer.Argument(help="As the response's x-request-id names it.")],
    *,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if absent.")] = (
        None
    ),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a proof of a request's entries that a stranger can check with the verifier key."""
    with opened(home) as session:
        document = prove_and_check(session, request_id)
        session.record_access("audit.prove", {"request": request_id})
        key = verifier_key(session).encode()
    if out is not None:
        write_file(out, document.encode())
    if as_json:
        print_json({"request_id": request_id, "vkey": key, "out": out and str(out)})
    elif out is None:
        print_lines(document.rstrip("\n"))
    else:
        print_lines(f"Wrote {out}. It verifies under {key}")


@app.command("verify-proof")
def verify_document(
    file: Annotated[Path, typer.Argument(help="Proof document; `-` is standard input.")],
    *,
    vkey: VkeyOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a proof of entries or of consistency offline. Exit code 1 if it proves nothing."""
    document = read_file(file)
    trust = trusted(vkey, home)
    if is_consistency(document):
        _print_grown(verify_consistency(document, **trust), as_json=as_json)
    else:
        _print_proved(verify_proof(document, **trust), as_json=as_json)


def _print_published(published: Published, *, as_json: bool) -> None:
    head = published.checkpoint
    if as_json:
        print_json(
            {
                "verified": True,
                "origin": head.origin,
                "size": head.size,
                "root": head.root.hex(),
                "pruned": published.pruned,
            }
        )
        return
    pruned = f" The first {published.pruned} are there as hashes only." if published.pruned else ""
    print_lines(
        f"The tiles hold the log {head.origin} of {head.size} entries: all verify.{pruned}",
        f"root          {head.root.hex()}",
        "Whether the log went on since, or had another past, a checkpoint kept elsewhere shows.",
    )


def _print_grown(grown: Consistency, *, as_json: bool) -> None:
    old, new = grown.old, grown.new
    if as_json:
        print_json(
            {
                "valid": True,
                "origin": new.origin,
                "old": {"size": old.size, "root": old.root.hex()},
                "new": {"size": new.size, "root": new.root.hex()},
            }
        )
    else:
        print_lines(
            f"The proof holds: the log {new.origin} of {new.size} entries extends that of "
            f"{old.size}; none of those was changed."
        )


def _print_proved(proved: Proved, *, as_json: bool) -> None:
    if as_json:
        print_json(_shown(proved))
        return
    print_lines(
        f"The proof holds: {len(proved.entries)} entries of {proved.request_id} are in the log "
        f"{proved.checkpoint.origin} of {proved.checkpoint.size} entries."
    )
    for entry in proved.entries:
        event = entry.event
        at = datetime.fromtimestamp(event["time"] / 1000, UTC).isoformat(timespec="milliseconds")
        print_lines(f"  entry {entry.index}  {at}  {event['sealgate']['phase']}")


def prove_and_check(session: Session, request_id: str) -> str:
    """Return a request's proof document once it verified as a stranger would verify it.

    Raises:
        RequestUnknown: The log holds no entry of the request.
        ProofInvalid: What was proved does not verify: the log was tampered with.
    """
    document = prove(session.engine, request_id)
    verified_proof(session, document)
    return document


def _summary(report: LogReport) -> str:
    open_now = f", {len(report.dangling)} under way or cut off" if report.dangling else ""
    pruned = f" The first {report.pruned} were pruned." if report.pruned else ""
    return (
        f"The log holds {report.size} entries under {report.checkpoints} checkpoints{open_now}: "
        f"all verify.{pruned}"
    )


def _shown(proved: Proved) -> dict[str, object]:
    return {
        "valid": True,
        "request_id": proved.request_id,
        "origin": proved.checkpoint.origin,
        "size": proved.checkpoint.size,
        "root": proved.checkpoint.root.hex(),
        "entries": [{"index": each.index, "event": each.event} for each in proved.entries],
    }
