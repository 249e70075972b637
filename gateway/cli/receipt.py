"""`sealgate receipt`: sign for an answer; check a receipt with the public key alone."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import (
    HomeOption,
    JsonOption,
    print_json,
    print_lines,
    read_file,
    write_file,
)
from gateway.cli.session import opened
from gateway.errors import FileUnreadable, SettingsInvalid
from gateway.receipts import SIGNER, issue
from watermark import receipts
from watermark.errors import ReceiptInvalid
from watermark.receipts import Output, Receipt

app = typer.Typer(help="Receipts: key, issue, verify.", no_args_is_help=True)


@app.command()
def key(*, home: HomeOption = None) -> None:
    """Print the public key that receipts verify under, as a JWK. Give it to who gets receipts."""
    with opened(home) as session:
        print_json(receipts.public_jwk(session.keyring.public_key(SIGNER)))


@app.command("issue")
def issue_receipt(
    request_id: Annotated[str, typer.Argument(help="As the response's x-request-id names it.")],
    *,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if absent.")] = (
        None
    ),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the receipt of a request whose outcome is in the log."""
    with opened(home) as session:
        token = issue(
            request_id,
            log=session.engine,
            keys=session.keyring,
            origin=session.settings.origin,
            now_s=int(time.time()),
        )
        session.record_access("receipts.get", {"request": request_id})
    if out is not None:
        write_file(out, f"{token}\n".encode())
    if as_json:
        print_json({"request_id": request_id, "receipt": token, "out": out and str(out)})
    elif out is None:
        print_lines(token)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The receipt; `-` is standard input.")],
    *,
    key: Annotated[Path, typer.Option(help="File with the public key, as `receipt key` prints.")],
    text: Annotated[
        Path | None, typer.Option(help="File with the answer's text, to the last byte.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a receipt offline, and with --text that it was given for this text. Needs no home."""
    receipt = receipts.verify(_text(file), public_key=_public_key(key))
    output = None if text is None else receipts.check_text(receipt, _text(text))
    shown = _shown(receipt, output)
    if as_json:
        print_json(shown)
    else:
        print_lines(*(f"{name:<12}{value}" for name, value in shown.items()))


def _public_key(file: Path) -> bytes:
    try:
        return receipts.read_jwk(read_file(file))
    except ReceiptInvalid as error:
        raise SettingsInvalid(f"--key: {error} `sealgate receipt key` prints one.") from None


def _text(file: Path) -> str:
    try:
        return read_file(file).decode()
    except UnicodeDecodeError:
        raise FileUnreadable(f"{file} is not text in UTF-8.") from None


def _shown(receipt: Receipt, output: Output | None) -> dict[str, Any]:
    return {
        "valid": True,
        "issuer": receipt.issuer,
        "request_id": receipt.request_id,
        "issued": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(receipt.issued_s)),
        "model": receipt.model_id,
        "digest": receipt.model_digest,
        "ending": receipt.ending,
        "entry": receipt.entry,
        "checkpoint": receipt.size,
        "root": receipt.root.hex(),
        "choice": None if output is None else output.choice,
    }
