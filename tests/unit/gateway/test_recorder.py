import asyncio
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import LogUnavailable
from audit.sequencer import Sequencer
from audit.store import open_log
from audit.verify import verify_log
from gateway import logbook
from gateway.metrics import Metrics
from gateway.recorder import Recorder

EVENT, CLOSING = {"event": 1}, {"event": 2}


class Disk:
    """A sequencer whose disk answers when it is told to."""

    def __init__(self):
        self.submitted = []
        self.futures = []

    def enqueue(self, event, settle):
        self.submitted.append(event)
        self.futures.append(Future())
        self.futures[-1].add_done_callback(lambda told: settle(told.exception() or told.result()))


@pytest.fixture
def disk():
    return Disk()


# The limit of a test that lets it pass.
SOON_S = 0.05


async def start(disk, metrics=None, *, limit_s=60, **options):
    recorder = Recorder(disk, acknowledgement_s=limit_s, metrics=metrics)
    recording = asyncio.ensure_future(recorder.record(EVENT, **options))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return recording


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_record_returns_after_the_disk_and_not_before(disk):
    recording = await start(disk)
    assert not recording.done()
    disk.futures[0].set_result("recorded")
    await recording


async def test_failed_write_is_an_unavailable_log(disk):
    recording = await start(disk, retraction=lambda: CLOSING)
    disk.futures[0].set_exception(LogUnavailable("disk full"))
    with pytest.raises(LogUnavailable, match="disk full"):
        await recording
    await settled()
    assert disk.submitted == [EVENT]


async def test_slow_write_is_an_unavailable_log_and_is_retracted_once_it_lands(disk):
    recording = await start(disk, limit_s=SOON_S, retraction=lambda: CLOSING)
    with pytest.raises(LogUnavailable, match=r"0\.05 s"):
        await recording
    assert disk.submitted == [EVENT]
    disk.futures[0].set_result("recorded")
    await settled()
    assert disk.submitted == [EVENT, CLOSING]


async def test_acknowledged_and_failed_entries_are_counted(disk):
    metrics = Metrics()
    for outcome in (None, LogUnavailable("disk full")):
        recording = await start(disk, metrics=metrics)
        if outcome is None:
            disk.futures[-1].set_result("recorded")
            await recording
        else:
            disk.futures[-1].set_exception(outcome)
            with pytest.raises(LogUnavailable):
                await recording
    with pytest.raises(LogUnavailable):
        await (await start(disk, metrics=metrics, limit_s=SOON_S))
    text = metrics.render().decode()
    assert "sealgate_log_acknowledgement_seconds_count 1.0" in text
    assert "sealgate_log_failures_total 2.0" in text


async def test_slow_write_that_fails_is_not_retracted(disk):
    recording = await start(disk, limit_s=SOON_S, retraction=lambda: CLOSING)
    with pytest.raises(LogUnavailable):
        await recording
    disk.futures[0].set_exception(LogUnavailable("disk full"))
    await settled()
    assert disk.submitted == [EVENT]


@pytest.mark.parametrize("landed", [False, True])
async def test_caller_that_is_cancelled_retracts_what_lands(disk, landed):
    recording = await start(disk, retraction=lambda: CLOSING)
    if landed:
        disk.futures[0].set_result("recorded")
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    if not landed:
        disk.futures[0].set_result("recorded")
    await settled()
    assert disk.submitted == [EVENT, CLOSING]


async def test_a_batch_wakes_the_loop_once(disk, monkeypatch):
    recorder = Recorder(disk, acknowledgement_s=60)
    recordings = [asyncio.ensure_future(recorder.record(EVENT)) for _ in range(20)]
    await asyncio.sleep(0)
    wakings = []
    wake = asyncio.get_running_loop().call_soon_threadsafe

    def counted(*call):
        wakings.append(call)
        return wake(*call)

    monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", counted)
    for future in disk.futures:
        future.set_result("recorded")
    await asyncio.gather(*recordings)
    assert len(wakings) == 1


async def test_entries_recorded_from_a_real_log_all_come_back(tmp_path):
    key = Ed25519PrivateKey.generate()
    engine = open_log(tmp_path / "log.db")
    public_key = key.public_key().public_bytes_raw()
    sequencer = Sequencer(engine, origin="o.test/log", public_key=public_key, sign=key.sign)
    sequencer.start()
    recorder = Recorder(sequencer, acknowledgement_s=60)
    now = datetime.now(UTC)
    events = [logbook.system("key.created", uid=f"sys_{n}", now=now) for n in range(300)]
    await asyncio.gather(*(recorder.record(event) for event in events))
    sequencer.close()
    assert verify_log(engine, origin="o.test/log", public_key=public_key).size == 300
    engine.dispose()
