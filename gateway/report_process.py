"""A report made in a process of its own: `python -m gateway.report_process`, exec'd fresh.

Verifying millions of entries and setting pages takes a processor for seconds; the gateway answers
meanwhile, and outlives whatever that process dies of. It gets public keys alone. What is to be
signed it writes back, and the gateway has the key broker sign.

Both directions are JSON, an object a line. In: the assignment, then `{"signature"}` for each
`{"sign"}`. Out at last: `{"made"}`, or `{"refused"}` with a sentence.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.controls.errors import ControlsError
from audit.errors import AuditError
from audit.store import existing_log
from gateway.errors import FileUnwritable, ReportFailed
from gateway.report_making import Assignment, LogKeys, Source, make, write

# Below everything that answers; the report can wait for a second.
NICENESS = 10
LINE_LIMIT_BYTES = 4 << 20
# What a PostgreSQL driver reads its password and certificates from.
_PASSED_ON = ("PG", "HOME", "LANG", "LC_", "TZ")

Sign = Callable[[bytes], bytes]


async def make_apart(order: Mapping[str, Any], *, sign: Sign, limit_s: float) -> dict[str, Any]:
    """Have a report made and return its `sha256`, `counts`, `log_size` and `problem`.

    order: as `main` reads it. sign: signs a document's attributes; called beside the event loop.

    Raises:
        ReportFailed: It was not made; the message says why.
    """
    process = await _started()
    try:
        async with asyncio.timeout(limit_s):
            return await _served(process, order, sign)
    except TimeoutError:
        raise ReportFailed(f"The report was not ready within {limit_s:g} s.") from None
    except (ConnectionError, ValueError, LookupError) as error:
        raise ReportFailed("The report's process broke off; see its error.") from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _started() -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "gateway.report_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k.startswith(_PASSED_ON)},
            limit=LINE_LIMIT_BYTES,
            # Ctrl-C reaches the terminal's whole group; the gateway ends this process itself.
            start_new_session=True,
        )
    except OSError as error:
        told = (
            f"The report's process did not start: {error.strerror}. Look at the machine's memory."
        )
        raise ReportFailed(told) from None


async def _served(
    process: asyncio.subprocess.Process, order: Mapping[str, Any], sign: Sign
) -> dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise ReportFailed("The report's process has no pipes.")
    process.stdin.write(_line(order))
    await process.stdin.drain()
    while told := await process.stdout.readline():
        answer = json.loads(told)
        if "made" in answer:
            made: dict[str, Any] = answer["made"]
            return made
        if "refused" in answer:
            raise ReportFailed(str(answer["refused"]))
        signature = await asyncio.to_thread(sign, bytes.fromhex(answer["sign"]))
        process.stdin.write(_line({"signature": signature.hex()}))
        await process.stdin.drain()
    raise ReportFailed("The report's process ended early; its error stands in the log.")


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def main() -> None:
    """Make the report that standard input orders."""
    os.nice(NICENESS)
    order = json.loads(sys.stdin.readline())
    try:
        _tell({"made": _made(order)})
    except (AuditError, ControlsError, FileUnwritable) as error:
        _tell({"refused": str(error)})


def _made(order: Mapping[str, Any]) -> dict[str, Any]:
    from audit.report.certificate import ReportKey  # noqa: PLC0415 - pyHanko's, slow to import.

    location = order["location"]
    engine = existing_log(location if location.startswith("postgresql:") else Path(location))
    try:
        made = make(
            Assignment(order["framework"], _moment(order["start"]), _moment(order["end"])),
            Source(
                engine,
                LogKeys(order["origin"], _keys(order["trusted"]), _keys(order["history"])),
                order["facts"],
                Path(order["archive"]),
            ),
            key=ReportKey(
                origin=order["origin"],
                public=bytes.fromhex(order["report_key"]),
                created=datetime.fromtimestamp(order["report_key_created_s"], UTC),
                sign=_ask_for_signature,
            ),
            now=datetime.now(UTC),
        )
    finally:
        engine.dispose()
    write(made, Path(order["pdf"]))
    return {
        "sha256": made.sha256,
        "counts": dict(made.counts),
        "log_size": made.log_size,
        "problem": made.problem,
    }


def _ask_for_signature(message: bytes) -> bytes:
    _tell({"sign": message.hex()})
    return bytes.fromhex(json.loads(sys.stdin.readline())["signature"])


def _tell(value: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(_line(value))
    sys.stdout.buffer.flush()


def _keys(given: list[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in given]


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


if __name__ == "__main__":
    main()
