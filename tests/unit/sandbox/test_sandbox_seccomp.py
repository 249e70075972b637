"""The filters' meaning, by an interpreter of classic BPF that shares no code with them."""

import errno
import struct

import pytest

from sandbox import seccomp

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL, NOTIFY = 0x7FFF0000, 0x80000000, 0x7FC00000
SENTINEL = 0x00050000 | errno.ENOTRECOVERABLE
HIGH = 1 << 32


def verdict(program, number, *arguments, machine=X86_64):
    """Interpret a filter over one call (seccomp(2), linux/bpf_common.h)."""
    padded = [argument % 2**64 for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number, machine, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program.memory.raw))
    place = accumulator = 0
    while True:
        operation, then, otherwise, value = code[place]
        place += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                place += then if accumulator == value else otherwise
            case 0x35:
                place += then if accumulator >= value else otherwise
            case 0x45:
                place += then if accumulator & value else otherwise
            case 0x06:
                return value


FILTERS = seccomp.build()


def noticing(number, *arguments, **options):
    return verdict(FILTERS.noticing, number, *arguments, **options)


def closing(number, *arguments, **options):
    return verdict(FILTERS.closing, number, *arguments, **options)


ALWAYS = {11, 12, 15, 25, 228, 231}
BY_ARGUMENT = {0, 1, 9, 10, 28, 202}
WHILE_PASSING = {3, 46, 302, 317}


def test_every_other_number_is_noticed():
    for number in range(1024):
        if number not in {*ALWAYS, *BY_ARGUMENT, *WHILE_PASSING, 146}:
            assert noticing(number) == NOTIFY, number


@pytest.mark.parametrize("number", sorted(ALWAYS))
def test_call_of_the_list_is_allowed_by_both(number):
    assert noticing(number, HIGH - 1, HIGH - 1, HIGH - 1) == ALLOW
    assert closing(number) == ALLOW


@pytest.mark.parametrize("number", sorted(WHILE_PASSING))
def test_what_passing_the_notices_took_kills_afterwards(number):
    assert noticing(number) == ALLOW
    assert closing(number) == KILL


def test_closing_filter_ends_those_four_and_nothing_else():
    assert {n for n in range(1024) if closing(n) != ALLOW} == WHILE_PASSING


@pytest.mark.parametrize("number", [0, 1])
def test_only_descriptor_zero_is_read_and_written(number):
    assert noticing(number, 0) == ALLOW
    # The kernel takes a descriptor's low word; so does the filter.
    assert noticing(number, HIGH) == ALLOW
    assert [noticing(number, d) for d in (1, 2, 3, 1023, HIGH + 1, -1)] == [NOTIFY] * 6


@pytest.mark.parametrize("number", [9, 10])
def test_no_memory_becomes_executable(number):
    for protection in range(8):
        expected = NOTIFY if protection & 4 else ALLOW
        assert noticing(number, 0, 4096, protection) == expected
        assert noticing(number, 0, 4096, protection | HIGH) == expected


def test_memory_is_advised_only_as_malloc_does():
    allowed = [advice for advice in range(256) if noticing(28, 0, 4096, advice) == ALLOW]
    assert allowed == [4, 8, 14, 15]


def test_futexes_only_wait_and_wake():
    flags = (0, 128, 256, 128 | 256)
    allowed = {command | flag for command in (0, 1, 9, 10) for flag in flags}
    assert {op for op in range(2048) if noticing(202, 0, op) == ALLOW} == allowed


def test_sentinel_is_answered_without_being_run():
    assert noticing(146) == SENTINEL
    assert closing(146) == ALLOW


@pytest.mark.parametrize("machine", [I386, AARCH64])
@pytest.mark.parametrize("number", [0, 1, 9, 11, 231])
def test_other_architectures_numbers_are_noticed(machine, number):
    assert noticing(number, machine=machine) == NOTIFY


@pytest.mark.parametrize("number", [0, 1, 9, 11, 231])
def test_x32_numbers_are_noticed(number):
    assert noticing(number | 0x40000000) == NOTIFY


def test_every_allowed_call_has_a_reason():
    for call in (*seccomp.LIST, *seccomp.PASSING, seccomp.SENTINEL):
        assert len(call.reason) > 5, call.name
    assert len({call.number for call in seccomp.LIST}) == len(seccomp.LIST) == 12


def test_digest_changes_only_when_the_list_does():
    # It stands in every attestation: change this line together with the list, on purpose.
    assert (
        FILTERS.digest
        == seccomp.build().digest
        == "c9d5252c8f31299aaf662ee93dffc0707cd1d7ef410fd763d302bdc7776927b6"
    )
