"""`sealgate demo`: the whole chain once, from a question to a signed report, on this machine.

Nothing is simulated: a real server in a child process, a real client, the reference model in
real sandboxes. Every link is checked; the first that does not hold ends the demo with exit code 1.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli.audit import prove_and_check
from gateway.cli.child import serving
from gateway.cli.clients import issue, withdraw
from gateway.cli.init import make
from gateway.cli.models import fetch_and_seal
from gateway.cli.output import HomeOption, JsonOption, note, print_json, print_lines, write_file
from gateway.cli.report import write_report
from gateway.cli.session import Session, opened
from gateway.errors import ChainBroken, ClientMissing
from gateway.home import Home
from gateway.identity import Role
from gateway.report_making import Assignment
from gateway.settings import Settings, load

MODEL = "smollm2-135m"
TENANT = "demo"
QUESTION = (
    "Explain in detail how a hospital should protect the records of its patients, who may read "
    "them, and what has to be written down whenever somebody does."
)
# A mark needs some two hundred tokens to be found with certainty; a small model may stop early.
MAX_TOKENS = 400
ENOUGH_TOKENS = 200
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client received. elapsed_s: from the request to the last byte."""

    text: str
    request_id: str
    tokens: int
    elapsed_s: float


def demo(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Run the main job once: ask, trace, prove, report. Makes the home if there is none."""
    settings = load(home=home)
    _prepare(settings)
    with (
        serving(settings.home) as url,
        opened(settings.home) as session,
        _credentials(session) as (client_key, officer_key),
    ):
        answer = _ask(url, client_key)
        trace = _trace(url, officer_key, answer)
        proved = _prove(session, answer)
        report = _report(session)
    shown = {
        "answer": answer.text,
        "request_id": answer.request_id,
        "trace": {key: trace[key] for key in ("verdict", "p_value", "request_id")},
        "proof_ok": True,
        "proof_path": str(proved),
        "report_path": str(report),
        "tokens_per_s": round(answer.tokens / answer.elapsed_s, 1),
    }
    if as_json:
        print_json(shown)
    else:
        _print(shown)


def _prepare(settings: Settings) -> None:
    """Make the home if there is none, with its key file beside it, and seal the model into it."""
    home = Home(settings.home)
    if not home.made:
        note(f"Making {home.path} ...")
        make(_with_secret(settings))
    if MODEL not in home.model_ids():
        note(f"Fetching and sealing {MODEL} ...")
        with opened(home.path) as session:
            fetch_and_seal(session, MODEL)


def _with_secret(settings: Settings) -> Settings:
    if settings.key_file or settings.passphrase_file:
        return settings
    beside = settings.home.with_name(f"{settings.home.name}.key")
    return settings.model_copy(update={"key_file": beside})


@contextmanager
def _credentials(session: Session) -> Iterator[tuple[str, str]]:
    """Give a client's and an officer's key for as long as the demo runs."""
    issued = [
        issue(session, name=f"demo {role}", tenant=TENANT, role=role, expires_days=1)
        for role in (Role.CLIENT, Role.OFFICER)
    ]
    try:
        yield issued[0][1], issued[1][1]
    finally:
        for credential, _ in issued:
            withdraw(session, credential.credential_id)


def _ask(url: str, key: str) -> Answer:
    """Ask with the openai client until an answer is long enough to carry a strong mark."""
    client = _client(url, key)
    answers: list[Answer] = []
    while len(answers) < ATTEMPTS:
        note("Asking the model ...")
        began = time.monotonic()
        completion = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=MAX_TOKENS,
            temperature=1,
        )
        elapsed_s = time.monotonic() - began
        text, usage = completion.choices[0].message.content, completion.usage
        if not text or not usage or not completion._request_id:  # noqa: SLF001 - their public name
            raise ChainBroken("The gateway answered without text, usage or request id.")
        answers.append(Answer(text, completion._request_id, usage.completion_tokens, elapsed_s))  # noqa: SLF001
        if answers[-1].tokens >= ENOUGH_TOKENS:
            break
    return max(answers, key=lambda answer: answer.tokens)


def _trace(url: str, key: str, answer: Answer) -> dict[str, Any]:
    """Give the text alone to an officer's search and expect its request back."""
    note("Tracing the text ...")
    found: dict[str, Any] = _client(url, key).post(
        "/provenance/verify", cast_to=dict[str, Any], body={"text": answer.text}
    )
    if found["verdict"] != "traced" or answer.request_id not in found["request_ids"]:
        raise ChainBroken(
            f"The answer's text was not traced to its request (verdict {found['verdict']})."
        )
    return found


def _prove(session: Session, answer: Answer) -> Path:
    note("Proving the log's entries ...")
    path = session.home.reports / f"{answer.request_id}.proof"
    write_file(path, prove_and_check(session, answer.request_id).encode())
    return path


def _report(session: Session) -> Path:
    note("Making the report ...")
    written = write_report(session, Assignment("hipaa"))
    if written.log_problem is not None:
        raise ChainBroken(f"The log does not verify: {written.log_problem}")
    return written.pdf


def _client(url: str, key: str) -> Any:
    try:
        import openai  # noqa: PLC0415 - only the demo needs the client.
    except ImportError:
        raise ClientMissing(
            "The demo asks with the openai client: pip install 'sealgate[demo]'."
        ) from None
    # A proxy in the environment is not for loopback.
    direct = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key=key, http_client=direct, max_retries=0, timeout=300
    )


def _print(shown: dict[str, Any]) -> None:
    trace = shown["trace"]
    print_lines(
        shown["answer"],
        "",
        f"speed     {shown['tokens_per_s']} tokens/s, one sandbox",
        f"request   {shown['request_id']}",
        f"trace     {trace['verdict']} to {trace['request_id']}, p < {trace['p_value']:.1g}",
        f"proof     holds: {shown['proof_path']}",
        f"report    {shown['report_path']}",
    )
