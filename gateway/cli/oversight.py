"""`sealgate audit review`, `disclose`: a person's own acts on the records, entries as well."""

import re
from typing import Annotated

import typer

from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines
from gateway.cli.searching import FromOption, ToOption, period
from gateway.cli.session import opened
from gateway.cli.trust import verified_log
from gateway.errors import SettingsInvalid
from gateway.incidents import require_text

PSEUDONYM = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def review(
    *,
    start: FromOption = None,
    end: ToOption = None,
    finding: Annotated[
        str, typer.Option(help="What the review found, in a sentence. No patient's name.")
    ] = "nothing conspicuous",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that you reviewed the records of a period; the log is verified first."""
    start_ms, end_ms = period(start, end)
    with opened(home) as session:
        verified = verified_log(session)
        detail = {
            "from_ms": verified.first_ms if start_ms is None else start_ms,
            "to_ms": verified.last_ms if end_ms is None else end_ms,
            "log_size": verified.size,
            "root": verified.root,
            "finding": require_text(finding),
        }
        session.record("review.acknowledged", detail)
    if as_json:
        print_json(detail)
    else:
        print_lines(f"Recorded your review of a log of {verified.size} entries, which verifies.")


def disclose(
    pseudonym: Annotated[str, typer.Argument(help="Whom the disclosure concerns.")],
    *,
    recipient: Annotated[str, typer.Option(help="Who got it: a name, and an address if known.")],
    what: Annotated[str, typer.Option(help="What was disclosed, in a few words.")],
    purpose: Annotated[str, typer.Option(help="Why, or the request for it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record a disclosure that was made outside the gateway (45 CFR 164.528(b)(2))."""
    detail = {
        "recipient": require_text(recipient),
        "what": require_text(what),
        "purpose": require_text(purpose),
    }
    if not PSEUDONYM.fullmatch(pseudonym):
        raise SettingsInvalid("A pseudonym is up to 128 letters, digits and any of . _ : -")
    with opened(home) as session:
        session.record_access("disclosure.recorded", detail, pseudonym=pseudonym)
    if as_json:
        print_json(detail | {"pseudonym": pseudonym})
    else:
        print_lines(f"Recorded. `sealgate audit disclosures {pseudonym}` accounts for it.")
