"""`sealgate report`, as its users meet it: files, exit codes, and one line for what is wrong."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from audit import archive
from audit.store import open_log
from gateway import report_making
from gateway.cli import main as cli
from gateway.report_shelf import Shelf

TODAY = datetime.now(UTC)


def _run(monkeypatch, capsys, *arguments):
    """Run a command in this process; return its exit code and what it said."""
    monkeypatch.setattr(sys, "argv", ["sealgate", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out, told.err


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A home with one report of its log beside it, made once and copied for each test."""
    place = tmp_path_factory.mktemp("template")
    environment = {
        **os.environ,
        "SEALGATE_HOME": str(place / "home"),
        "SEALGATE_KEY_FILE": str(place / "key"),
    }
    report = ("report", "generate", "--out", str(place / "november.pdf"))
    for command in (("init",), report):
        program = [sys.executable, "-m", "gateway", *command]
        subprocess.run(program, env=environment, check=True, capture_output=True)
    return place


@pytest.fixture
def sealgate(template, tmp_path, monkeypatch, capsys):
    """Run a command over a copy of the home."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SEALGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEALGATE_KEY_FILE", str(tmp_path / "key"))
    return lambda *arguments: _run(monkeypatch, capsys, *arguments)


@pytest.fixture
def made(sealgate, tmp_path):
    """The report of the home's own log."""
    return tmp_path / "november.pdf"


@pytest.fixture
def database(tmp_path):
    return tmp_path / "home" / "sealgate.db"


def _sql(database, *statements):
    with closing(sqlite3.connect(database)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_report_verifies_against_its_own_log(sealgate, made):
    code, out, _ = sealgate("report", "verify", made, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["recomputed"]
    assert told["pages_reproduced"]
    assert told["entry"] == told["log_size"]
    assert told["beside"] == ["november.oscal.json", "november.summary.json"]


def test_report_in_the_home_is_listed_for_who_asks_the_gateway(sealgate, tmp_path):
    code, out, _ = sealgate("report", "generate", "--framework", "gdpr", "--json")
    assert code == 0
    engine = open_log(tmp_path / "home" / "sealgate.db")
    (filed,) = Shelf(engine).newest()
    engine.dispose()
    assert (filed.framework, filed.status, filed.requested_by) == ("gdpr", "ready", "operator")
    assert json.loads(out)["report_path"].endswith(filed.file)
    assert filed.told["counts"] == json.loads(out)["counts"]


def test_verification_is_itself_recorded(sealgate, made, database):
    sealgate("report", "verify", made)
    with closing(sqlite3.connect(database)) as connection:
        newest = connection.execute("SELECT operation FROM leaf ORDER BY idx DESC").fetchone()
    assert newest == ("report.verify",)


def test_stranger_needs_the_certificate_alone(sealgate, made, tmp_path, monkeypatch):
    pem = tmp_path / "report.pem"
    assert sealgate("report", "certificate", "--out", pem)[0] == 0
    monkeypatch.setenv("SEALGATE_HOME", str(tmp_path / "elsewhere"))
    code, out, _ = sealgate("report", "verify", made, "--certificate", pem, "--json")
    assert code == 0
    assert json.loads(out)["recomputed"] is False


def test_certificate_of_another_deployment_refuses(sealgate, made, tmp_path, monkeypatch):
    monkeypatch.setenv("SEALGATE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("SEALGATE_KEY_FILE", str(tmp_path / "other-key"))
    sealgate("init")
    pem = tmp_path / "other.pem"
    sealgate("report", "certificate", "--out", pem)
    code, _, err = sealgate("report", "verify", made, "--certificate", pem)
    assert code == 1
    assert "report key" in err


def test_changed_report_is_refused(sealgate, made):
    pdf = bytearray(made.read_bytes())
    pdf[len(pdf) // 3] ^= 1
    made.write_bytes(pdf)
    assert sealgate("report", "verify", made)[0] == 1


@pytest.mark.parametrize("name", ["november.oscal.json", "november.summary.json"])
def test_twin_beside_it_that_disagrees_is_refused(sealgate, made, name):
    twin = made.with_name(name)
    twin.write_text(twin.read_text().replace("NOT_EVIDENCED", "PASS", 1))
    code, _, err = sealgate("report", "verify", made)
    assert code == 1
    assert name in err


@pytest.mark.parametrize(
    "demand",
    [("--framework", "gdpr"), ("--from", "2020-01-01"), ("--to", "2020-01-31")],
)
def test_report_of_another_framework_or_period_is_refused(sealgate, made, demand):
    code, _, err = sealgate("report", "verify", made, *demand)
    assert code == 1
    assert "not" in err


def test_period_that_was_asked_for_is_the_period_that_verifies(sealgate, tmp_path):
    pdf = tmp_path / "day.pdf"
    period = ("--from", f"{TODAY:%Y-%m-%d}", "--to", f"{TODAY + timedelta(days=1):%Y-%m-%d}")
    assert sealgate("report", "generate", *period, "--out", pdf)[0] == 0
    assert sealgate("report", "verify", pdf, *period)[0] == 0


def test_report_still_verifies_after_its_key_was_rotated(sealgate, made):
    assert sealgate("keys", "rotate", "report", "checkpoint")[0] == 0
    assert sealgate("report", "verify", made)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["hipaa-2025", "eu-ai-act", "gdpr", "cn-labelling"])
def test_every_framework_has_its_report(sealgate, tmp_path, framework):
    pdf = tmp_path / "other.pdf"
    assert sealgate("report", "generate", "--framework", framework, "--out", pdf)[0] == 0
    assert sealgate("report", "verify", pdf, "--framework", framework)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--framework", "iso27001"), "choose one of: hipaa,"),
        (("--from", "tomorrow"), "Write it as 2026-01-31"),
        (("--from", "2026-02-30"), "Write it as 2026-01-31"),
        (("--from", "2999-01-01", "--to", "2999-12-31"), "starts in the future"),
        (("--from", "2999-01-01"), "must end after it starts"),
        (("--from", "2026-02-01", "--to", "2026-01-01"), "must end after it starts"),
        (("--to", "9999-12-31"), "is no day"),
    ],
)
def test_request_that_makes_no_sense_is_refused_in_one_line(sealgate, arguments, told):
    code, out, err = sealgate("report", "generate", *arguments)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert out == ""


def test_period_without_entries_gives_a_report_that_evidences_nothing(sealgate, tmp_path):
    pdf = tmp_path / "silent.pdf"
    period = ("--from", "2020-01-01", "--to", "2020-12-31")
    code, out, _ = sealgate("report", "generate", *period, "--out", pdf, "--json")
    counts = json.loads(out)["counts"]
    assert code == 0
    assert counts["PASS"] == counts["PARTIAL"] == counts["FAIL"] == 0
    assert sealgate("report", "verify", pdf)[0] == 0


@pytest.mark.parametrize("content", [b"", b"not a report", b"%PDF-1.7\n%%EOF\n"])
def test_what_is_no_report_is_refused(sealgate, tmp_path, content):
    file = tmp_path / "letter.pdf"
    file.write_bytes(content)
    assert sealgate("report", "verify", file)[0] == 1


def test_missing_file_and_certificate_are_named(sealgate, made, tmp_path):
    for arguments in ((tmp_path / "none.pdf",), (made, "--certificate", tmp_path / "none.pem")):
        code, _, err = sealgate("report", "verify", *arguments)
        assert code == 2
        assert "none.p" in err


def test_tampered_log_still_gets_a_report_that_says_so(sealgate, made, database, tmp_path):
    # The start of a session looks at the log's end; verification finds what lies further back.
    _sql(database, "UPDATE leaf SET tenant = 'another' WHERE idx = 0")
    pdf = tmp_path / "tampered.pdf"
    code, out, err = sealgate("report", "generate", "--out", pdf, "--json")
    assert code == 1
    assert json.loads(out)["log_verified"] is False
    assert json.loads(out)["counts"]["PASS"] == 0
    assert err.startswith("sealgate: ")
    code, _, err = sealgate("report", "verify", made)
    assert code == 1
    assert "nothing can be recomputed" in err


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE leaf SET body = x'00ff' WHERE idx = 1",
        "UPDATE leaf SET body = x'5b5d' WHERE idx = 0",
        "DELETE FROM leaf WHERE idx = 0",
        "UPDATE head SET size = size + 1",
    ],
)
def test_log_that_is_damaged_is_answered_in_one_line(sealgate, made, database, change):
    _sql(database, change)
    for command in (("generate",), ("verify", made)):
        code, _, err = sealgate("report", *command)
        assert code == 1
        assert err.startswith("sealgate: ")
        assert err.count("\n") == 1


def test_entries_are_read_up_to_the_first_that_is_none(monkeypatch):
    def entries(*_):
        yield 0, {"time": 1}
        raise json.JSONDecodeError("no JSON", "", 0)

    monkeypatch.setattr(archive, "events_at_hand", entries)
    source = SimpleNamespace(engine=None, archive=None)
    assert list(report_making._readable(source)) == [(0, {"time": 1})]


def test_tampered_last_entry_is_reported_and_the_report_kept(sealgate, database, tmp_path):
    _sql(
        database,
        "UPDATE leaf SET body = CAST(replace(body, 'system', 'sistem') AS BLOB) WHERE idx = "
        "(SELECT max(idx) FROM leaf)",
    )
    pdf = tmp_path / "tail.pdf"
    code, out, err = sealgate("report", "generate", "--out", pdf, "--json")
    told = json.loads(out)
    assert code == 1
    assert (told["log_verified"], told["recorded"], told["counts"]["PASS"]) == (False, False, 0)
    assert "not on record" in err
    assert err.count("\n") == 1
    assert pdf.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_truncated_database_is_answered_in_one_line(sealgate, database, kept):
    content = database.read_bytes()
    database.write_bytes(content[: int(len(content) * kept)])
    for command in (("report", "generate"),):
        code, _, err = sealgate(*command)
        assert code in {1, 3}
        assert err.startswith("sealgate: ")
        assert err.count("\n") == 1
