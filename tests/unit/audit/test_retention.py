"""Months sealed, entries pruned, holds, and a person forgotten: the log verifies through all."""

import json
from datetime import UTC, datetime

import pytest

from audit import forgetting, holds, retention, segments
from audit.content import Contents, Text
from audit.errors import (
    ContentUnknown,
    HoldInForce,
    LogTampered,
    LogUnavailable,
    PeriodUnsealable,
    PruningRefused,
)
from audit.publication import publish, verify_tiles
from audit.verify import PRUNED, consistency, verify_consistency


def at(month, day=15):
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1000)


JANUARY, FEBRUARY = "2026-01", "2026-02"
LATER = at(6)


@pytest.fixture
def filled(log, make):
    """January: entries 0 to 599 of 300 requests; February: 600 to 639."""

    def requests(numbers, month):
        return [
            event
            for number in numbers
            for event in (
                make.intent(
                    f"req_{number}",
                    trace_ids=(number,),
                    time_ms=at(month),
                    pseudonym=f"ps_{number}" if number % 100 == 0 else None,
                ),
                make.outcome(f"req_{number}", trace_ids=(number,), time_ms=at(month)),
            )
        ]

    log.record(*requests(range(300), 1))
    log.record(*requests(range(300, 320), 2))
    return log


@pytest.fixture
def keeping(filled, tmp_path, make):
    """What an operator does about retention, with the log's own key."""
    directory = tmp_path / "segments"

    class Keeping:
        path = directory

        @staticmethod
        def seal(month=JANUARY, now_ms=LATER):
            return segments.seal(
                filled.engine,
                month,
                directory=directory,
                sign=filled.key.sign,
                now_ms=now_ms,
                **filled.trust,
            )

        @staticmethod
        def prune(month=JANUARY, kept_from_ms=LATER, record=None):
            def told(end):
                own = make.system(f"prune_{month}", detail={"end": end})
                filled.record({**own, "api": {**own["api"], "operation": PRUNED}})

            return retention.prune(
                filled.engine,
                month,
                directory=directory,
                kept_from_ms=kept_from_ms,
                record=record or told,
                now_ms=LATER,
                **filled.trust,
            )

        @staticmethod
        def verify(month=JANUARY):
            return segments.verify_segment(directory, month, **filled.trust)

    return Keeping


def test_sealed_month_verifies_from_its_files_alone(filled, keeping):
    january, february = keeping.seal(), keeping.seal(FEBRUARY)
    assert (january.start, january.end, february.start, february.end) == (0, 600, 600, 640)
    assert keeping.verify() == january
    assert keeping.verify(FEBRUARY) == february
    assert segments.sealed(filled.engine) == [january, february]
    lines = (keeping.path / "2026-01.ndjson").read_bytes().splitlines()
    assert len(lines) == 600
    assert json.loads(lines[-1])["api"]["request"]["uid"] == "req_299"


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-01", "", "2026-01-01", "٢٠٢٦-٠١"])  # noqa: RUF001 - Digits that are not ASCII.
def test_what_is_no_month_is_refused(keeping, month):
    with pytest.raises(PeriodUnsealable, match="is no month"):
        keeping.seal(month)


def test_month_is_sealed_once_when_it_is_over_and_in_order(keeping):
    with pytest.raises(PeriodUnsealable, match="not over"):
        keeping.seal(now_ms=at(1, 31))
    with pytest.raises(PeriodUnsealable, match="no entry"):
        keeping.seal("2025-12")
    keeping.seal()
    for month in (JANUARY, "2025-12"):
        with pytest.raises(PeriodUnsealable, match="sealed already"):
            keeping.seal(month)


def test_entry_of_a_clock_that_jumped_back_is_sealed_where_it_stands(filled, keeping, make):
    filled.record(make.system("late", time_ms=at(1, 20)), make.system("next", time_ms=at(3)))
    assert keeping.seal().end == 641
    assert keeping.seal("2026-03").start == 641


def change_a_line(path):
    data = bytearray((path / "2026-01.ndjson").read_bytes())
    data[1000] ^= 1
    (path / "2026-01.ndjson").write_bytes(data)


def drop_a_line(path):
    file = path / "2026-01.ndjson"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def change_the_manifest(path):
    file = path / "2026-01.json"
    file.write_text(file.read_text("utf-8").replace('"end": 600', '"end": 599'), "utf-8")


def rewrite_both(path):
    drop_a_line(path)
    import hashlib  # noqa: PLC0415 - For this forgery alone.

    digest = hashlib.sha256((path / "2026-01.ndjson").read_bytes()).hexdigest()
    fields = json.loads((path / "2026-01.json").read_text("utf-8"))
    fields |= {"end": 599, "sha256": digest}
    (path / "2026-01.json").write_text(json.dumps(fields), "utf-8")


def spoil_the_manifest(path):
    (path / "2026-01.json").write_text("[]", "utf-8")


@pytest.mark.parametrize(
    "harm", [change_a_line, drop_a_line, change_the_manifest, rewrite_both, spoil_the_manifest]
)
def test_changed_segment_is_found_and_nothing_is_pruned(filled, keeping, harm):
    keeping.seal()
    harm(keeping.path)
    with pytest.raises(LogTampered):
        keeping.verify()
    with pytest.raises(LogTampered):
        keeping.prune()
    assert filled.verify().pruned == 0


def test_pruned_log_verifies_and_so_do_proofs_old_and_new(filled, keeping, make):
    old_note, old_proof = filled.verify().note, filled.prove("req_7")
    keeping.seal()
    assert keeping.prune() == 512
    filled.record(make.system("after"))
    report = filled.verify()
    assert (report.size, report.pruned, report.events) == (642, 512, 130)
    filled.verify_proof(old_proof)
    filled.verify_proof(filled.prove("req_299"))
    verify_consistency(consistency(filled.engine, old_note, **filled.trust), **filled.trust)
    with pytest.raises(Exception, match="no entry"):
        filled.prove("req_7")
    assert keeping.verify().end == 600
    assert [each.pruned for each in segments.sealed(filled.engine)] == [True]


def test_pruned_log_goes_on_after_a_restart(filled, keeping, new_log, make):
    keeping.seal()
    keeping.seal(FEBRUARY)
    assert keeping.prune(FEBRUARY) == 512
    filled.close()
    again = new_log(filled.path).start()
    again.record(make.system("next"))
    assert again.verify().pruned == 512


def test_pruned_log_is_published_without_what_is_gone(filled, keeping, tmp_path):
    keeping.seal()
    keeping.prune()
    publish(filled.engine, tmp_path / "tiles")
    assert not (tmp_path / "tiles/tile/entries/000").exists()
    assert verify_tiles(tmp_path / "tiles", **filled.trust).pruned == 512


def test_entries_that_vanish_without_a_word_are_found(filled, keeping):
    keeping.seal()
    keeping.prune(record=lambda _: None)
    with pytest.raises(LogTampered, match="512 entries are gone; the log says so of 0"):
        filled.verify()


def test_pruning_that_was_cut_off_is_taken_up_again(filled, keeping, monkeypatch):
    keeping.seal()
    monkeypatch.setattr(retention, "CHUNK", 256)
    drop, count = retention._drop, iter(range(10))

    def cut_off(connection, end):
        if next(count) == 1:
            raise LogUnavailable("cut off")
        drop(connection, end)

    monkeypatch.setattr(retention, "_drop", cut_off)
    with pytest.raises(LogUnavailable, match="cut off"):
        keeping.prune()
    assert filled.verify().pruned == 256
    assert keeping.prune() == 512
    assert filled.verify().pruned == 512


def test_young_month_stays(filled, keeping):
    with pytest.raises(PruningRefused, match="not sealed"):
        keeping.prune()
    keeping.seal()
    with pytest.raises(PruningRefused, match="younger"):
        keeping.prune(kept_from_ms=at(1, 31))
    assert filled.verify().pruned == 0


def test_request_without_outcome_stays(filled, keeping):
    keeping.seal()
    filled.sql(["DELETE FROM leaf WHERE uid = 'req_5/outcome'"])
    with pytest.raises(PruningRefused, match="req_5"):
        keeping.prune()


@pytest.mark.parametrize(
    ("scope", "value"),
    [("all", ""), ("tenant", "ward-a"), ("request", "req_7"), ("subject", "ps_100")],
)
def test_hold_keeps_what_it_covers_until_it_is_lifted(filled, keeping, scope, value):
    keeping.seal()
    holds.place(filled.engine, "case-1", scope=scope, value=value, now_ms=LATER)
    with pytest.raises(HoldInForce, match="case-1"):
        keeping.prune()
    assert filled.verify().pruned == 0
    holds.lift(filled.engine, "case-1", now_ms=LATER)
    assert keeping.prune() == 512
    (hold,) = holds.listed(filled.engine)
    assert (hold.scope, hold.value, hold.lifted_ms) == (scope, value, LATER)


@pytest.mark.parametrize(
    ("scope", "value"), [("tenant", "ward-b"), ("request", "req_310"), ("subject", "ps_1")]
)
def test_hold_on_something_else_does_not_stop_pruning(filled, keeping, scope, value):
    keeping.seal()
    holds.place(filled.engine, "case-1", scope=scope, value=value, now_ms=LATER)
    assert keeping.prune() == 512


def test_hold_has_one_name_and_is_lifted_once(filled):
    holds.place(filled.engine, "case-1", scope="all", value="", now_ms=1)
    with pytest.raises(HoldInForce, match="already"):
        holds.place(filled.engine, "case-1", scope="all", value="", now_ms=1)
    holds.lift(filled.engine, "case-1", now_ms=2)
    with pytest.raises(HoldInForce, match="No hold"):
        holds.lift(filled.engine, "case-1", now_ms=3)


def text(
    subject, request_id, plaintext, *, kind="prompt", tenant="clinic", until_ms=1_800_000_000_000
):
    return Text(request_id, kind, subject, tenant, until_ms, plaintext)


@pytest.fixture
def contents(filled):
    return Contents(filled.engine, lambda: [bytes(32)])


def test_shredded_subject_is_gone_and_the_log_verifies(filled, contents):
    for number in (1, 2):
        contents.keep(text("ps_1", f"req_{number}", b"an opinion on ps_1"))
    contents.keep(text("ps_2", "req_3", b"an opinion on ps_2"))
    assert contents.read("req_1", "prompt") == b"an opinion on ps_1"
    before = filled.verify()
    with filled.engine.connect() as connection:
        query = "SELECT wrapped FROM subject_key WHERE subject = 'ps_1'"
        key = connection.exec_driver_sql(query).scalar_one()
    told = []
    done = forgetting.shred(filled.engine, "ps_1", record=lambda: told.append("ps_1"))
    assert (done, told) == (forgetting.Shredded(contents=2, lingers=False), ["ps_1"])
    for number in (1, 2):
        with pytest.raises(ContentUnknown):
            contents.read(f"req_{number}", "prompt")
    assert contents.read("req_3", "prompt") == b"an opinion on ps_2"
    assert filled.verify() == before
    filled.verify_proof(filled.prove("req_1"))
    # Not in a free page either, nor in the write-ahead log.
    files = [file for file in filled.path.parent.glob("log.db*") if file.is_file()]
    assert all(key[12:] not in file.read_bytes() for file in files)
    with pytest.raises(ContentUnknown, match="Nothing is kept"):
        forgetting.shred(filled.engine, "ps_1", record=lambda: told.append("again"))
    assert told == ["ps_1"]


def test_shredding_beside_a_reader_says_what_lingers(filled, contents):
    contents.keep(text("ps_1", "req_1", b"x"))
    with filled.engine.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM leaf").scalar_one()
        assert forgetting.shred(filled.engine, "ps_1", record=lambda: None).lingers


@pytest.mark.parametrize(("scope", "value"), [("all", ""), ("subject", "ps_1")])
def test_hold_forbids_to_shred(filled, contents, scope, value):
    contents.keep(text("ps_1", "req_1", b"x"))
    holds.place(filled.engine, "case-1", scope=scope, value=value, now_ms=1)
    with pytest.raises(HoldInForce):
        forgetting.shred(filled.engine, "ps_1", record=pytest.fail)
    assert contents.read("req_1", "prompt") == b"x"


def test_kept_content_is_bound_to_its_request_kind_and_subject(filled, contents):
    contents.keep(text("ps_1", "req_1", b"one"))
    contents.keep(text("ps_2", "req_2", b"two"))
    filled.sql(
        ["UPDATE content SET request_id = 'req_9' WHERE request_id = 'req_1'"],
        ["UPDATE content SET subject = 'ps_1' WHERE request_id = 'req_2'"],
    )
    for request in ("req_9", "req_2"):
        with pytest.raises(ContentUnknown, match="changed"):
            contents.read(request, "prompt")
    with pytest.raises(ContentUnknown, match="changed"):
        Contents(filled.engine, lambda: [bytes(31) + b"\x01"]).read("req_9", "prompt")


def test_no_plaintext_of_kept_content_is_on_disk(filled, contents):
    contents.keep(text("ps_1", "req_1", b"the patient's own words"))
    files = filled.path.parent.glob("log.db*")
    assert all(b"own words" not in file.read_bytes() for file in files)
