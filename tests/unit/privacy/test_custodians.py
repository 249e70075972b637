import pytest

from privacy.custodians.keyfile import KeyFile
from privacy.custodians.passphrase import Cost, Passphrase
from privacy.errors import CustodianUnusable, KeyringLocked
from privacy.keyring import Keyring

CHEAP = Cost(iterations=1, lanes=1, memory_kib=64)
KEK = bytes(range(32))


def test_a_passphrase_gives_back_what_it_wrapped():
    record = Passphrase(b"correct horse", CHEAP).wrap(KEK)
    assert Passphrase(b"correct horse").unwrap(record) == KEK


def test_the_default_cost_is_the_second_recommendation_of_rfc_9106():
    record = Passphrase(b"correct horse").wrap(KEK)
    assert (record["iterations"], record["lanes"], record["memory_kib"]) == (3, 4, 65536)
    assert Passphrase(b"correct horse").unwrap(record) == KEK


def test_a_wrong_passphrase_says_only_that():
    record = Passphrase(b"correct horse", CHEAP).wrap(KEK)
    with pytest.raises(KeyringLocked) as raised:
        Passphrase(b"battery staple").unwrap(record)
    assert "staple" not in str(raised.value)


def test_the_same_passphrase_wraps_differently_each_time():
    one, two = (Passphrase(b"correct horse", CHEAP).wrap(KEK) for _ in range(2))
    assert one["salt"] != two["salt"]
    assert one["wrapped"] != two["wrapped"]


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 2},
        {"lanes": 2},
        {"memory_kib": 128},
        {"salt": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"wrapped": "AAAA"},
        {"wrapped": "not base64"},
    ],
)
def test_an_edited_passphrase_record_opens_nothing(change):
    record = Passphrase(b"correct horse", CHEAP).wrap(KEK) | change
    with pytest.raises(KeyringLocked):
        Passphrase(b"correct horse").unwrap(record)


@pytest.mark.parametrize(
    "change", [{"memory_kib": 1 << 30}, {"iterations": 10**9}, {"lanes": 10**6}]
)
def test_an_edited_cost_cannot_exhaust_the_machine(change):
    record = Passphrase(b"correct horse", CHEAP).wrap(KEK) | change
    with pytest.raises(KeyringLocked):
        Passphrase(b"correct horse").unwrap(record)


def test_an_empty_passphrase_is_refused():
    with pytest.raises(CustodianUnusable):
        Passphrase(b"").wrap(KEK)


def test_a_key_file_is_32_bytes_for_its_owner_alone(tmp_path):
    path = KeyFile.create(tmp_path / "new" / "key").path
    assert len(path.read_bytes()) == 32
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_never_overwritten(tmp_path):
    path = KeyFile.create(tmp_path / "key").path
    before = path.read_bytes()
    with pytest.raises(CustodianUnusable):
        KeyFile.create(path)
    assert path.read_bytes() == before


def test_another_key_file_does_not_open(tmp_path):
    record = KeyFile.create(tmp_path / "one").wrap(KEK)
    assert KeyFile(tmp_path / "one").unwrap(record) == KEK
    with pytest.raises(KeyringLocked):
        KeyFile.create(tmp_path / "two").unwrap(record)


def test_a_key_file_that_everybody_may_read_is_refused(tmp_path):
    key_file = KeyFile.create(tmp_path / "key")
    key_file.path.chmod(0o644)
    with pytest.raises(CustodianUnusable, match="chmod"):
        key_file.wrap(KEK)


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_file_of_another_length_is_no_key_file(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(CustodianUnusable):
        KeyFile(path).wrap(KEK)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(CustodianUnusable, match="absent"):
        KeyFile(tmp_path / "absent").wrap(KEK)


def test_the_wrong_kind_of_custodian_is_told_the_right_one(tmp_path):
    key_file, passphrase = KeyFile.create(tmp_path / "key"), Passphrase(b"word", CHEAP)
    Keyring.create(tmp_path / "one", key_file)
    Keyring.create(tmp_path / "two", passphrase)
    with pytest.raises(KeyringLocked, match="keyfile"):
        Keyring.unlock(tmp_path / "one", passphrase)
    with pytest.raises(KeyringLocked, match="passphrase"):
        Keyring.unlock(tmp_path / "two", key_file)


def test_a_passphrase_is_not_in_its_repr():
    assert "horse" not in repr(Passphrase(b"correct horse"))
