"""Keys of requests are the broker's own, asked for seldom, and never of a keyring that was."""

import asyncio
import threading

import pytest

from gateway.requestkeys import TENANTS, RequestKeys
from privacy import keystore
from privacy.custodians.keyfile import KeyFile
from privacy.errors import BrokerGone
from privacy.keyring import Keyring
from tests.waiting import happened


class Broker:
    """A keyring that counts calls, and can be held up or broken."""

    def __init__(self, keyring):
        self._keyring, self.calls, self.contexts = keyring, 0, 0
        self.free = threading.Event()
        self.free.set()
        self.failure = None

    def active_epoch(self, purpose):
        self.calls += 1
        return self._keyring.active_epoch(purpose)

    def derive_each(self, purpose, contexts, epoch):
        self.calls += 1
        self.contexts += len(contexts)
        assert self.free.wait(60)
        if self.failure is not None:
            raise self.failure
        return self._keyring.derive_each(purpose, contexts, epoch)


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "keyring", KeyFile.create(tmp_path / "key"))


@pytest.fixture
def broker(keyring):
    return Broker(keyring)


@pytest.fixture
def keys(broker, tmp_path):
    return RequestKeys(broker, stamp=keystore.watch(tmp_path / "keyring"))


async def test_a_tenants_keys_are_derived_once_and_are_the_keyrings(keys, broker, keyring):
    first = await keys.tenant("clinic")
    calls = broker.calls
    assert await keys.tenant("clinic") is first
    assert broker.calls == calls
    epoch = (1).to_bytes(4, "big")
    assert first.mark_key == keyring.derive("watermark", b"clinic", epoch, epoch=1)
    assert first.seed_key == keyring.derive("watermark", b"seed", b"clinic", epoch, epoch=1)
    assert first.audit_key == keyring.derive("audit-hmac", b"clinic", epoch=1)
    assert first.fingerprint_key == keyring.derive("audit-hmac", b"clinic", b"fingerprint", epoch=1)
    assert len({first.mark_key, (await keys.tenant("bank")).mark_key}) == 2


async def test_a_rotation_holds_from_the_next_request(keys, keyring):
    before = await keys.tenant("clinic")
    keyring.rotate("watermark")
    after = await keys.tenant("clinic")
    assert (before.epoch, after.epoch) == (1, 2)
    assert before.mark_key != after.mark_key


async def test_keys_of_a_keyring_that_changed_meanwhile_are_not_kept(keys, broker, keyring):
    broker.free.clear()
    asking = asyncio.ensure_future(keys.tenant("clinic"))
    await happened(lambda: broker.contexts)
    keyring.rotate("audit-hmac")
    broker.free.set()
    await asking
    assert (await keys.tenant("clinic")).audit_epoch == 2


async def test_only_so_many_tenants_are_kept(keys):
    for number in range(3):
        await keys.tenant(f"t{number}")
    for number in range(TENANTS):
        keys._known[f"x{number}"] = await keys.tenant("t2")
    await keys.tenant("t2")
    await keys.tenant("new")
    assert len(keys._known) <= TENANTS + 3
    for _ in range(10):
        await keys.tenant("t2")
    assert len(keys._known) <= TENANTS


async def test_requests_share_a_call_and_each_gets_its_own_key(keys, broker, keyring):
    broker.free.clear()
    first = keys.receipt("clinic", "req_0", epoch=1)
    await happened(lambda: broker.calls)
    rest = [keys.receipt("clinic", f"req_{n}", epoch=1) for n in range(1, 50)]
    broker.free.set()
    told = await asyncio.gather(first, *rest)
    assert (broker.calls, broker.contexts) == (2, 50)
    assert told == [
        keyring.derive("audit-hmac", b"clinic", b"receipt", f"req_{n}".encode(), epoch=1)
        for n in range(50)
    ]


async def test_a_request_that_left_takes_nobody_with_it(keys, broker):
    broker.free.clear()
    gone = keys.receipt("clinic", "req_1", epoch=1)
    stays = keys.receipt("clinic", "req_2", epoch=1)
    await happened(lambda: broker.calls)
    gone.cancel()
    broker.free.set()
    assert len(await stays) == 32
    assert len(await keys.receipt("clinic", "req_3", epoch=1)) == 32


async def test_a_broker_that_is_gone_fails_who_asked_and_no_later_one(keys, broker, caplog):
    broker.failure = BrokerGone("gone")
    futures = [keys.receipt("clinic", f"req_{n}", epoch=1) for n in range(3)]
    for future in futures[:2]:
        with pytest.raises(BrokerGone):
            await future
    broker.failure = None
    assert len(await keys.receipt("clinic", "req_9", epoch=1)) == 32
    del futures
    assert "never retrieved" not in caplog.text
