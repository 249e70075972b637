"""The gateway's way into the log: whatever the log refuses, nothing goes on."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from audit.errors import EventConflict, EventInvalid, LogUnavailable
from gateway.answer import Answer
from gateway.recorder import Recorder
from gateway.request_secrets import Secrets


class Log:
    """A sequencer whose futures the test settles. refuses: what `submit` raises."""

    def __init__(self, *, refuses=None):
        self.refuses = refuses
        self.submitted = []

    def enqueue(self, event, settle):
        if self.refuses is not None:
            raise self.refuses
        future = Future()
        future.add_done_callback(lambda told: settle(told.exception() or told.result()))
        self.submitted.append((event, future))


async def test_event_that_breaks_the_format_counts_as_an_unavailable_log():
    recorder = Recorder(Log(refuses=EventInvalid("too long")), acknowledgement_s=60)
    with pytest.raises(LogUnavailable, match="too long"):
        await recorder.record({})


async def test_uid_of_another_event_counts_as_an_unavailable_log():
    log = Log()
    recording = asyncio.ensure_future(Recorder(log, acknowledgement_s=60).record({}))
    await asyncio.sleep(0)
    log.submitted[0][1].set_exception(EventConflict("taken"))
    with pytest.raises(LogUnavailable, match="taken"):
        await recording


async def test_retraction_that_the_log_refuses_is_let_go():
    log = Log()
    recorder = Recorder(log, acknowledgement_s=0.01)
    with pytest.raises(LogUnavailable, match="acknowledge"):
        await recorder.record({}, retraction=lambda: {"uid": "late"})
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    log.refuses = LogUnavailable("closed")
    log.submitted[0][1].set_result(None)
    await asyncio.sleep(0.05)
    assert complaints == []


class Broken:
    """A recorder that fails in a way nobody foresaw."""

    async def record(self, _event):
        raise RuntimeError("unforeseen")


@pytest.mark.parametrize(
    "fails", [Broken(), Recorder(Log(refuses=EventInvalid("bad")), acknowledgement_s=60)]
)
async def test_abandoning_an_answer_never_raises(fails, monkeypatch, caplog):
    answer = Answer(
        question=SimpleNamespace(request_id="req_1"),
        recorder=fails,
        secrets=Secrets(epoch=1, audit_epoch=1, marks=[], mark_key=b"", audit_key=b""),
    )
    monkeypatch.setattr(answer, "_outcome", lambda *_, **__: {})
    await answer.abandon("failed", status=500)
    assert "req_1 has no outcome" in caplog.text
