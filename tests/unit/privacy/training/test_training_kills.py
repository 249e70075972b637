"""Trainers killed at any moment, and many at once: nothing is overspent."""

import multiprocessing
import os
import time

import pytest

from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.training import tables
from privacy.training.errors import (
    TrainingError,
)
from privacy.training.filtering import capacity
from privacy.training.ledger import Ledger
from privacy.training.mechanism import rdp_per_step
from tests.unit.privacy.training.ledger_runs import BUDGET, PLAN, people, reserve

EVERYONE = people(*range(200))
FITTING = 4


@pytest.fixture
def ledger(url, keyring):
    engine = tables.open_database(url)
    yield Ledger(engine, signer=keyring)
    engine.dispose()


def train(url, home, made, run_id, seed):
    """Make steps until killed, each noted once it is made; in a process of its own."""
    # Keys do not survive a fork, on purpose.
    keyring = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
    ledger = Ledger(tables.open_database(url), signer=keyring)
    try:
        run = ledger.resume(run_id) if run_id else reserve(ledger, EVERYONE)
        while run.left:
            steps = min(3, run.left)
            run = ledger.lease(run, steps)
            for _ in range(steps):
                os.write(made, f"{run.run_id}\n".encode())
                time.sleep(0.0001 * (seed % 7))
        ledger.settle(run)
    except TrainingError:
        pass
    os._exit(0)


def killed(url, kills, tmp_path):
    """Start and kill trainers, and return the steps that each run made."""
    path = tmp_path / "made"
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fork = multiprocessing.get_context("fork")
    run_id = None
    for seed in range(kills):
        process = fork.Process(target=train, args=(url, tmp_path, made, run_id, seed))
        process.start()
        # Some are killed before their first step, most somewhere after it.
        before, late = path.stat().st_size, time.monotonic() + 10 * (seed % 4 > 0)
        while process.is_alive() and path.stat().st_size == before and time.monotonic() < late:
            time.sleep(0.001)
        time.sleep(0.0013 * (seed % 17))
        process.kill()
        process.join()
        lines = path.read_text().split()
        # Half the time the run is gone on with, half the time a new one is tried.
        run_id = lines[-1] if lines and seed % 2 else None
    os.close(made)
    lines = path.read_text().split()
    assert lines
    return {run: lines.count(run) for run in set(lines)}


def require_nothing_overspent(ledger, steps):
    ledger.verify()
    runs = {run.id: run for run in ledger.runs()}
    for run_id, made in steps.items():
        assert made <= runs[run_id].leased <= runs[run_id].plan.steps
    account = ledger.account("notes")
    order = account.standing.order
    spent = sum(made * rdp_per_step(PLAN, order) for made in steps.values())
    assert spent <= account.standing.rdp + 1e-9 <= capacity(BUDGET, order) + 1e-9


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_thirty_kills_overspend_nothing(url, keyring, ledger, tmp_path):
    ledger._engine.dispose()
    steps = killed(url, 30, tmp_path)
    require_nothing_overspent(ledger, steps)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_thousand_kills_overspend_nothing(keyring, tmp_path):
    url = str(tmp_path / "killed.db")
    steps = killed(url, 1000, tmp_path)
    engine = tables.open_database(url)
    require_nothing_overspent(Ledger(engine, signer=keyring), steps)
    engine.dispose()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_eight_runs_at_once_overspend_nothing(url, keyring, ledger, tmp_path):
    ledger._engine.dispose()
    path = tmp_path / "made"
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=train, args=(url, tmp_path, made, None, 0)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    os.close(made)
    lines = path.read_text().split()
    steps = {run: lines.count(run) for run in set(lines)}
    # All eight wanted a whole plan; as many as fit got one.
    assert len(steps) == FITTING
    require_nothing_overspent(ledger, steps)
