import pytest

from gateway.errors import RequestRefused
from gateway.throttle import REMEMBERED, Throttle


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    return Throttle(most=3, window_s=60, clock=clock)


def refused(throttle, address):
    with pytest.raises(RequestRefused) as error:
        throttle.require_calm(address)
    return error.value


def test_wrong_keys_are_counted_by_address(throttle):
    for _ in range(3):
        throttle.require_calm("10.0.0.1")
        throttle.wrong("10.0.0.1")
    error = refused(throttle, "10.0.0.1")
    assert (error.status, error.code, error.retry_after_s) == (429, "too_many_attempts", 60)
    throttle.require_calm("10.0.0.2")


def test_address_is_heard_again_after_the_window(throttle, clock):
    for _ in range(5):
        throttle.wrong("10.0.0.1")
    clock.now += 60
    throttle.require_calm("10.0.0.1")
    throttle.wrong("10.0.0.1")
    throttle.require_calm("10.0.0.1")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::5", "2001:db8:1:2:aaaa::9", True),
        ("2001:db8:1:2::5", "2001:db8:1:3::5", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("::1", "::1", True),
        (None, None, True),
    ],
)
def test_ipv6_host_is_its_network(throttle, first, second, same):
    for _ in range(3):
        throttle.wrong(first)
    if same:
        refused(throttle, second)
    else:
        throttle.require_calm(second)


def test_remembered_addresses_are_bounded(throttle):
    for number in range(REMEMBERED + 100):
        throttle.wrong(f"address-{number}")
    assert len(throttle._wrong) == REMEMBERED
