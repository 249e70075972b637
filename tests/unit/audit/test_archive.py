"""Reports over a pruned log, on a file and on PostgreSQL: the sealed months give the rest."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from audit import archive, evidence, retention, segments
from audit.controls.scope import LogState
from audit.errors import LogTampered, LogUnavailable
from audit.report.generate import generate_report
from audit.report.recheck import recheck
from audit.verify import PRUNED

MONTHS = ("2026-01", "2026-02")
NOW = datetime(2026, 6, 15, tzinfo=UTC)
LATER = int(NOW.timestamp() * 1000)


def at(month):
    return int(datetime(2026, month, 15, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(params=["file", "postgres"])
def kept(request, new_log, tmp_path, make):
    """A log of 300 entries in each of two months, both sealed; `prune` drops the first 512."""
    place = request.getfixturevalue("database") if request.param == "postgres" else None
    log = new_log(place, busy_limit_s=10).start()
    directory = tmp_path / "months"
    for month in (1, 2):
        log.record(
            *(
                event
                for number in range(150)
                for event in (
                    make.intent(f"req_{month}_{number}", time_ms=at(month)),
                    make.outcome(f"req_{month}_{number}", time_ms=at(month)),
                )
            )
        )
    for month in MONTHS:
        segments.seal(
            log.engine, month, directory=directory, sign=log.key.sign, now_ms=LATER, **log.trust
        )

    def prune():
        def record(end):
            own = make.system("prune", detail={"end": end}, time_ms=LATER)
            log.record({**own, "api": {**own["api"], "operation": PRUNED}})

        retention.prune(
            log.engine,
            MONTHS[1],
            directory=directory,
            kept_from_ms=LATER,
            record=record,
            now_ms=LATER,
            **log.trust,
        )

    return SimpleNamespace(log=log, directory=directory, prune=prune)


def report(kept):
    found = kept.log.verify()
    state = LogState(kept.log.origin, found.size, found.root, found.note, verified=True)
    return generate_report(
        framework="hipaa",
        start=datetime(2026, 1, 1, tzinfo=UTC),
        end=datetime(2026, 3, 1, tzinfo=UTC),
        events=archive.events_at_hand(kept.log.engine, kept.directory),
        log=state,
        system={},
        now=NOW,
        version="0",
    )


def recheck_it(kept, made, monkeypatch):
    # The pages are the business of other tests.
    monkeypatch.setattr("audit.report.recheck.TYPESETTER", "another")
    return recheck(
        b"",
        made.summary,
        engine=kept.log.engine,
        origin=kept.log.origin,
        log_keys=[kept.log.public_key],
        months=kept.directory,
    )


def test_pruned_log_gives_every_entry_as_before(kept):
    before = list(evidence.events(kept.log.engine))
    kept.prune()
    assert next(evidence.events(kept.log.engine))[0] == 512
    joined = list(archive.events(kept.log.engine, kept.directory))
    assert joined[:-1] == before
    assert [index for index, _ in joined] == list(range(601))


def test_report_from_before_the_pruning_is_made_again(kept, monkeypatch):
    made = report(kept)
    kept.prune()
    assert recheck_it(kept, made, monkeypatch).summary == made.summary
    again = report(kept)
    assert again.summary["verdicts"] == made.summary["verdicts"]
    assert recheck_it(kept, again, monkeypatch).pages is False


def test_month_that_is_kept_elsewhere_is_asked_for_by_name(kept, monkeypatch):
    made = report(kept)
    kept.prune()
    (kept.directory / "2026-01.ndjson").rename(kept.directory / "elsewhere")
    with pytest.raises(LogUnavailable, match=r"2026-01.*Put the sealed month back"):
        recheck_it(kept, made, monkeypatch)
    # A report of what is left can be made all the same, and says what it lacks.
    left = report(kept)
    assert left.summary["figures"]["entries_read"]["data"][0]["entries"] == 301
    assert left.summary["verdicts"]["164.312(b)"] != "PASS"


def test_changed_sealed_month_is_no_source(kept):
    kept.prune()
    path = kept.directory / "2026-01.ndjson"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"req_1_7/", b"req_1_8/", 1))
    with pytest.raises(LogTampered, match="entry 14"):
        list(archive.events_at_hand(kept.log.engine, kept.directory))
