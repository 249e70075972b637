"""How ranks add up, agree and fail together: two forked processes over gloo."""

import json
import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from privacy.training import exchange, private, tables
from privacy.training.errors import BudgetExhausted
from privacy.training.exchange import Ranks, Solo
from privacy.training.ledger import Ledger
from privacy.training.powersgd import PowerSgd
from privacy.training.vault import CERTIFICATE_FILE, CHECKPOINT_FILE, WEIGHTS_FILE, Vault
from tests.unit.privacy.training.toy import DELTA, stepped

LIMIT = timedelta(seconds=60)


@pytest.fixture
def on_both(tmp_path):
    """Do something in two processes that are ranks of one run; return what each says."""

    def _on_both(deed):
        pids = [started(deed, rank, tmp_path) for rank in range(2)]
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        said = [(tmp_path / f"said-{rank}").read_text() for rank in range(2)]
        assert ends == [0, 0], said
        return [json.loads(each) for each in said]

    return _on_both


def started(deed, rank, place):
    pid = os.fork()
    if pid:
        return pid
    code, said = 1, ""
    try:
        torch.set_num_threads(1)
        method = f"file://{place / 'store'}"
        dist.init_process_group("gloo", init_method=method, rank=rank, world_size=2, timeout=LIMIT)
        said = json.dumps(deed(rank))
        dist.barrier()
        code = 0
    except BaseException as error:  # noqa: BLE001 - the child's edge: it only reports
        said = repr(error)
    finally:
        (place / f"said-{rank}").write_text(said)
        os._exit(code)


def one_layer(*shapes):
    model = torch.nn.Module()
    for number, shape in enumerate(shapes):
        model.register_parameter(f"p{number}", torch.nn.Parameter(torch.zeros(shape)))
    return model


def test_a_process_that_torchrun_did_not_start_is_alone():
    alone = exchange.found()
    assert isinstance(alone, Solo)
    vector = torch.arange(3.0)
    assert alone.total(vector) is vector
    assert alone.led(lambda: [1, "a"]) == [1, "a"]


def test_both_ranks_get_the_same_sum(on_both):
    def deed(rank):
        ranks = exchange.found()
        total = ranks.total(torch.tensor([1.0, 10.0], dtype=torch.float64) * (rank + 1))
        return [type(ranks).__name__, ranks.rank, total.tolist(), ranks.sent_bytes]

    for rank, found in enumerate(on_both(deed)):
        assert found == ["Ranks", rank, [3.0, 30.0], 8]


def test_the_first_rank_alone_acts_and_both_hear_what_came_of_it(on_both, tmp_path):
    def deed(rank):
        def act():
            (tmp_path / f"acted-{rank}").touch()
            return ["run_1", {"leased": rank}]

        return Ranks().led(act)

    assert on_both(deed) == [["run_1", {"leased": 0}]] * 2
    assert [path.name for path in tmp_path.glob("acted-*")] == ["acted-0"]


def test_what_the_first_rank_is_refused_both_are_refused(on_both):
    def deed(_):
        def act():
            raise BudgetExhausted("Nothing is left.")

        try:
            Ranks().led(act)
        except BudgetExhausted as error:
            return str(error)

    assert on_both(deed) == ["Nothing is left."] * 2


def test_the_second_rank_begins_with_the_first_ones_model(on_both):
    def deed(rank):
        model = torch.nn.BatchNorm1d(3)
        with torch.no_grad():
            model.weight.fill_(rank + 5)
            model.running_mean.fill_(rank + 7)
        Ranks().align(model)
        return [model.weight.tolist(), model.running_mean.tolist()]

    assert on_both(deed) == [[[5.0] * 3, [7.0] * 3]] * 2


def test_powersgd_sends_what_is_small_or_of_few_factors_exactly(on_both):
    def deed(rank):
        ranks = PowerSgd(one_layer((12, 9), (4,), (2, 3)), factors=2)
        # The sum of both has rank 2.
        matrix = torch.outer(torch.arange(12.0) - rank, torch.arange(9.0) ** (rank + 1))
        rest = torch.arange(10.0) + rank
        total = ranks.total(torch.cat([matrix.flatten(), rest]))
        return [total.tolist(), ranks.sent_bytes]

    (one, sent), (other, _) = on_both(deed)
    assert one == other
    expected = torch.outer(torch.arange(12.0), torch.arange(9.0))
    expected += torch.outer(torch.arange(12.0) - 1, torch.arange(9.0) ** 2)
    assert torch.allclose(torch.tensor(one[:108]).view(12, 9), expected, atol=1e-2)
    assert one[108:] == [2.0 * n + 1 for n in range(10)]
    # Two factors of 12 + 9 numbers each, and ten numbers as they are.
    assert sent == 4 * (2 * (12 + 9) + 10)


def test_what_powersgd_leaves_out_of_a_step_comes_with_a_later_one(on_both):
    def deed(rank):
        ranks = PowerSgd(one_layer((16, 16)), factors=1)
        both = [torch.randn(256, generator=torch.Generator().manual_seed(n)) for n in range(2)]
        steps = torch.stack([ranks.total(both[rank]) for _ in range(40)])
        means = steps.cumsum(dim=0) / torch.arange(1, 41)[:, None]
        missed = (means - sum(both)).norm(dim=1) / sum(both).norm()
        return [missed[0].item(), missed[-1].item(), steps[-1].tolist()]

    one, other = on_both(deed)
    assert one == other
    # One factor alone would miss about as much of a random matrix however often it is sent.
    assert one[0] > 0.8
    assert one[1] < 0.4


def test_the_second_rank_learns_and_writes_nothing(on_both, tmp_path, keyring, ledger, records):
    def deed(rank):
        # A connection to a database does not outlive a fork.
        own = Ledger(tables.open_database(str(tmp_path / "ledger.db")), signer=keyring)
        vault = Vault(keyring, own, tmp_path / f"training-{rank}")
        vault.directory.mkdir()
        model = torch.nn.Linear(12, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        loader = DataLoader(records, batch_size=40)
        options = {"dataset": "toy", "delta": DELTA, "clip": 1.0, "noise_multiplier": 2.0}
        with private(model, optimizer, loader, vault=vault, steps=4, **options) as run:
            while run.steps_left:
                for batch in run.loader:
                    stepped(model, optimizer, batch)
            run.checkpoint()
            finished = run.finish()
        files = sorted(path.name for path in vault.directory.rglob("*") if path.is_file())
        return [finished is not None, files, run.steps, model.weight.flatten().tolist()]

    first, second = on_both(deed)
    assert first[:2] == [True, sorted((CERTIFICATE_FILE, CHECKPOINT_FILE, WEIGHTS_FILE))]
    assert second[:2] == [False, []]
    assert first[2:] == second[2:]
    assert [run.settled for run in ledger.runs()] == [True]
