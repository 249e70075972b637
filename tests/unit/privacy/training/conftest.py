import pytest

pytest.importorskip("torch", reason="the extra [train] is not installed")

import torch
from torch.utils.data import DataLoader, TensorDataset

from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.training import private, tables
from privacy.training.filtering import Budget
from privacy.training.ledger import Ledger
from privacy.training.noise import GaussianSource
from privacy.training.vault import Vault
from tests.postgres_server import serving
from tests.unit.privacy.training.toy import DELTA

RECORDS, FEATURES = 400, 12
# Small tensors: threads that wait for each other on a busy machine cost more than they bring.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg", reason="the extra [postgres] is not installed")
    with serving() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield str(tmp_path / "both.db")
        return
    url = request.getfixturevalue("server")
    yield url
    engine = tables.open_database(url)
    tables.metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def keyring(tmp_path):
    KeyFile.create(tmp_path / "key")
    return Keyring.create(tmp_path / "keyring", KeyFile(tmp_path / "key"))


@pytest.fixture
def ledger(tmp_path, keyring):
    engine = tables.open_database(str(tmp_path / "ledger.db"))
    yield Ledger(engine, signer=keyring, clock=lambda: 1_700_000_000.0)
    engine.dispose()


@pytest.fixture
def vault(tmp_path, keyring, ledger):
    place = tmp_path / "training"
    place.mkdir()
    return Vault(keyring, ledger, place)


@pytest.fixture
def records():
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(RECORDS, FEATURES, generator=generator)
    labels = (inputs.sum(dim=1) > 0).long()
    return TensorDataset(inputs, labels)


@pytest.fixture
def loader(records):
    return DataLoader(records, batch_size=40, shuffle=True)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return torch.nn.Linear(FEATURES, 2)


@pytest.fixture
def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.5)


@pytest.fixture
def silent(monkeypatch):
    """Turn the noise off, to see what is underneath."""

    def zeros(_, count, *, deviation):
        del deviation
        return torch.zeros(count, dtype=torch.float64)

    monkeypatch.setattr(GaussianSource, "draw", zeros)


@pytest.fixture
def begin(model, optimizer, loader, vault):
    def begun(**changed):
        options = {
            "vault": vault,
            "dataset": "toy",
            "delta": DELTA,
            "clip": 1.0,
            "noise_multiplier": 2.0,
            "steps": 30,
            "budget": Budget(50.0, DELTA),
            **changed,
        }
        parts = [options.pop(n, d) for n, d in (("model", model), ("optimizer", optimizer))]
        return private(*parts, options.pop("loader", loader), **options)

    return begun


@pytest.fixture
def train(model, optimizer):
    def trained(run, *, steps=None):
        goal = run.steps + steps if steps else None
        while run.steps_left:
            for inputs, labels in run.loader:
                torch.nn.functional.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                optimizer.zero_grad()
                if goal is not None and run.steps >= goal:
                    return

    return trained
