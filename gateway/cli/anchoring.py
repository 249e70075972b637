"""`sealgate audit anchor` and `consistency`: the log before another hand's memory."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from audit import anchoring
from audit.anchoring import Anchored
from audit.errors import AnchorFailed, CheckpointInvalid
from audit.verify import consistency
from gateway import instants
from gateway.anchoring import anchored_event, anchors
from gateway.cli.output import (
    HomeOption,
    JsonOption,
    note,
    print_json,
    print_lines,
    read_file,
    write_file,
)
from gateway.cli.session import Session, inspected, operator, recording
from gateway.cli.trust import verifier_key
from gateway.errors import SettingsInvalid


def anchor(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Hand the newest checkpoint to every place that the settings name."""
    with inspected(home) as session:
        places = anchors(session.settings)
        if not places:
            raise SettingsInvalid(
                "The log is unanchored: no setting names a place. Set anchor_file, for one."
            )
        now_ms = time.time_ns() // 1_000_000
        attempts = anchoring.anchor(session.engine, places, now_ms=now_ms)
        with recording(session):
            for attempt in attempts:
                if attempt.problem is None and attempt.news:
                    session.submit(anchored_event(attempt, actor=operator()))
        anchored = anchoring.anchored(session.engine)
    if as_json:
        print_json(
            {
                "attempts": [asdict(each) for each in attempts],
                "anchors": [asdict(each) for each in anchored],
            }
        )
    else:
        print_lines(*lines(anchored))
    failed = [each for each in attempts if each.problem is not None]
    if failed:
        raise AnchorFailed(f"{failed[0].place}: {failed[0].problem}")


def consistency_since(
    file: Annotated[Path, typer.Argument(help="A checkpoint that was kept; `-` is stdin.")],
    *,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if absent.")] = (
        None
    ),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that the log only grew since a checkpoint. Exit code 1 if it did not."""
    try:
        kept = read_file(file).decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointInvalid(f"{file} holds no checkpoint.") from None
    with inspected(home) as session:
        key, *earlier = session.keyring.public_keys("checkpoint")
        document = consistency(
            session.engine,
            kept,
            origin=session.settings.origin,
            public_key=key,
            earlier=earlier,
        )
        vkey = verifier_key(session).encode()
    if out is not None:
        write_file(out, document.encode())
    if as_json:
        print_json({"consistent": True, "vkey": vkey, "out": out and str(out)})
    elif out is None:
        print_lines(document.rstrip("\n"))
    else:
        print_lines(f"The log only grew since. Wrote {out}; it verifies under {vkey}")


def checked(session: Session) -> list[Anchored]:
    """Hold the log against all that its anchors kept, and return how far each reaches.

    Raises:
        LogTampered: The log does not extend a checkpoint, or a place lost one.
        LogUnavailable: The log cannot be read.
    """
    key = verifier_key(session)
    for place in anchors(session.settings):
        try:
            anchoring.check(
                session.engine,
                [place],
                origin=key.name,
                public_key=key.public_key,
                earlier=session.keyring.history("checkpoint"),
            )
        except AnchorFailed as error:
            note(f"An anchor could not be asked: {error}")
    return anchoring.anchored(session.engine)


def lines(anchored: list[Anchored]) -> list[str]:
    """Return what a person reads of the anchors."""
    if not anchored:
        return ["anchors       unanchored: only this home says that the log is the true one"]
    return [
        f"anchor        {each.kind} {each.place}: {each.size} entries at "
        f"{instants.written(each.time_ms)}, {each.behind} since"
        for each in anchored
    ]
