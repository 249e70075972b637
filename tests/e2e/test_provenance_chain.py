"""From a text back to its request, and from the request to a proof and a report."""

import json
from pathlib import Path

import openai
import pytest
from pypdf import PdfReader

from tests.e2e.deployment import ENDLESS, MODEL, sealgate

QUESTION = (
    "Explain in detail how a hospital should protect the records of its patients, who may read "
    "them, and what has to be written down whenever somebody does."
)
HUMAN = (
    "The ward was quiet when the night shift began. Two nurses shared the rounds, and the older "
    "one kept a small notebook in her pocket, in which she had written the names of everybody "
    "she had looked after since her first winter there. Nobody but her had ever read it. When "
    "the new rules came, she asked whether the notebook was a record, and the answer she got was "
    "so long that she put it away and never opened it in the building again. Instead she learned "
    "the names by heart, as her own teacher had done before there were any computers at all, and "
    "told them over to herself on the bus that took her home in the grey light of the morning. "
) * 2


@pytest.fixture(scope="module")
def answer(gateway):
    """An answer of 220 tokens and its request id."""
    with gateway.client() as client:
        made = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=220,
            logit_bias=ENDLESS,
        )
    return made.choices[0].message.content, made._request_id


@pytest.fixture
def trace(gateway):
    """Ask as an officer whose text this is."""

    def ask(text):
        with gateway.client("officer") as client:
            return client.post("/provenance/verify", cast_to=object, body={"text": text})

    return ask


def test_answer_is_traced_to_its_request(answer, trace):
    text, request_id = answer
    found = trace(text)
    assert found["verdict"] == "traced"
    assert found["request_id"] == request_id
    assert found["tenant"] == "clinic"
    assert found["model"] == MODEL
    assert 0 < found["p_value"] <= 1e-6
    start, end = found["span"]
    assert 0 <= start < end <= len(text)


def test_answer_inside_a_human_text_is_traced_and_located(answer, trace):
    text, request_id = answer
    found = trace(HUMAN + text + HUMAN)
    assert found["request_id"] == request_id
    start, end = found["span"]
    middle = (len(HUMAN), len(HUMAN) + len(text))
    overlap = min(end, middle[1]) - max(start, middle[0])
    assert overlap > 0.5 * len(text)


def test_human_text_has_no_trace(trace):
    # The false-alarm rate is at most 1e-6 over all keys, and this text never changes.
    found = trace(HUMAN)
    assert (found["verdict"], found["request_id"], found["tenant"]) == ("no_trace", None, None)


def test_few_words_are_too_short(trace):
    assert trace("Yes.")["verdict"] == "too_short"


def test_search_is_itself_an_entry_without_the_text(answer, trace, gateway):
    text, request_id = answer
    trace(text)
    entry = gateway.events()[-1]
    assert entry["api"]["operation"] == "provenance.verify"
    assert entry["actor"]["user"]["type"] == "officer"
    detail = entry["sealgate"]["detail"]
    assert (detail["verdict"], detail["traced_request"]) == ("traced", request_id)
    assert text[:40] not in json.dumps(entry)


def test_another_home_finds_no_trace_and_its_own_offline(answer, gateway, idle_home):
    text, request_id = answer
    verify = ("watermark", "verify", "-", "--json")
    own = sealgate(*verify, home=gateway.home, text=text)
    assert json.loads(own.stdout)["request_id"] == request_id
    other = sealgate(*verify, home=idle_home[0], text=text, check=False)
    assert (other.returncode, json.loads(other.stdout)["verdict"]) == (1, "no_trace")
    short = sealgate(*verify, home=gateway.home, text="Hello.", check=False)
    assert (short.returncode, json.loads(short.stdout)["verdict"]) == (2, "too_short")


# Each as long as a body may be, and as a file far longer.
KINDS = {
    "text": HUMAN,
    "letter": "a",
    "stops": "a. ",
    "script": "\u13a3\u13b3\u13a9 \u13a6\u13ec\u13c2",
    "points": "\u05d0\u05c1\u05b0\u05c1\u05b0",
    "ligatures": "\ufdfa",
    "nothing": "\x00\x01\ufffd",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_long_text_of_any_kind_has_a_verdict(kind, gateway, trace, tmp_path):
    kept = KINDS[kind]
    size = min(1_000_000 // len(kept), 1_900_000 // len(json.dumps(kept)))
    found = trace(kept * size)
    assert found["verdict"] in {"no_trace", "too_short"}
    assert found["reason"]
    with pytest.raises(openai.APIStatusError) as refused:
        trace(kept * (10_000_000 // len(kept)))
    assert (refused.value.status_code, refused.value.code) == (413, "request_too_large")
    file = tmp_path / "text"
    file.write_bytes(kept.encode() * (10_000_000 // len(kept.encode())))
    offline = ("watermark", "verify", str(file), "--json")
    told = sealgate(*offline, home=gateway.home, check=False, limit_s=600)
    assert told.returncode in {1, 2}, told.stderr
    assert "Only the first" in json.loads(told.stdout)["reason"]


def test_file_without_an_end_is_refused(gateway):
    told = sealgate("watermark", "verify", "/dev/zero", home=gateway.home, check=False)
    assert told.returncode == 2
    assert "holds more than" in told.stderr


def test_entries_are_proved_to_who_has_the_verifier_key_alone(answer, run_sealgate, tmp_path):
    proof = tmp_path / "answer.proof"
    made = json.loads(
        run_sealgate("audit", "prove", answer[1], "--out", str(proof), "--json").stdout
    )
    # No home is at hand here.
    stranger = ("audit", "verify-proof", str(proof), "--vkey", made["vkey"], "--json")
    shown = json.loads(sealgate(*stranger, home=tmp_path / "none").stdout)
    assert shown["valid"] is True
    assert [e["event"]["sealgate"]["phase"] for e in shown["entries"]] == ["intent", "outcome"]

    proof.write_text(proof.read_text().replace('"event": "ey', '"event": "ez'))
    forged = sealgate(*stranger, home=tmp_path / "none", check=False)
    assert forged.returncode == 1
    assert len(forged.stderr.splitlines()) == 1


def test_log_of_a_serving_gateway_verifies(answer, run_sealgate):
    assert json.loads(run_sealgate("audit", "verify", "--json").stdout)["verified"] is True


def test_report_is_made_beside_a_serving_gateway(answer, run_sealgate, gateway):
    made = json.loads(run_sealgate("report", "generate", "--framework", "hipaa", "--json").stdout)
    assert made["log_verified"] is True
    assert made["counts"]["PASS"] > 0
    assert made["counts"]["FAIL"] == 0
    pages = [page.extract_text() for page in PdfReader(made["report_path"]).pages]
    assert "164.312(b)" in "".join(pages)
    summary = json.loads(Path(made["summary_path"]).read_text())
    assert summary["log"]["verified"] is True
    assert gateway.events()[-1]["api"]["operation"] == "report.generated"
