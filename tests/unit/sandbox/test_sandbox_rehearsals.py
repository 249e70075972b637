"""Idle workers rehearse while a processor is free, one after another, and each once."""

import asyncio
from collections import deque
from types import SimpleNamespace

import pytest

from sandbox import conversation, rehearsals
from sandbox.rehearsals import Rehearsals
from tests.waiting import happened


def worker():
    return SimpleNamespace(rehearsed=False)


@pytest.fixture
def told(monkeypatch):
    """Return who was told to rehearse, in order; looks follow each other at once."""
    told = []
    monkeypatch.setattr(conversation, "rehearse", told.append)
    monkeypatch.setattr(rehearsals, "QUIET_S", 0)
    return told


async def looks(count=20):
    """Let that many looks be taken, were they planned."""
    for _ in range(count):
        await asyncio.sleep(0.001)


async def test_each_idle_worker_rehearses_once_the_next_to_be_taken_first(told):
    idle = deque(worker() for _ in range(3))
    waiting = Rehearsals(idle, processors=2)
    waiting.plan()
    waiting.plan()
    await happened(lambda: len(told) == 3)
    waiting.plan()
    await looks()
    assert told == list(idle)


async def test_nobody_rehearses_while_every_processor_answers(told):
    idle = deque([worker()])
    waiting = Rehearsals(idle, processors=2)
    waiting.answering = 2
    waiting.plan()
    await looks()
    assert not told
    waiting.answering = 1
    await happened(lambda: told == list(idle))


async def test_a_worker_that_was_taken_meanwhile_is_left_to_its_job(told):
    idle = deque([worker(), worker()])
    waiting = Rehearsals(idle, processors=1)
    waiting.answering = 1
    waiting.plan()
    idle.popleft()
    waiting.answering = 0
    await happened(lambda: told == list(idle))
    assert len(told) == 1


async def test_the_machines_own_processors_are_counted_unless_told(told):
    waiting = Rehearsals(deque([worker()]))
    waiting.plan()
    await happened(lambda: len(told) == 1)
