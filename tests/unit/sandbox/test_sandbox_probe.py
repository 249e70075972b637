import errno
import os
from dataclasses import replace

import pytest

from sandbox import kernel, keyrings, landlock, namespaces, probe, seccomp
from sandbox.errors import SandboxUnavailable

REQUIRED = [check.name for check in probe.CHECKS if check.required]


def missing(message):
    def ask():
        raise OSError(message)

    return ask


def test_this_kernel_has_every_required_wall():
    walls = probe.probe()
    assert [wall.name for wall in walls if wall.required] == REQUIRED
    probe.require(walls)


@pytest.mark.parametrize("name", REQUIRED)
def test_absence_of_any_required_wall_is_refused_by_name(name, monkeypatch):
    checks = tuple(
        replace(check, ask=missing("the kernel says no") if check.name == name else lambda: "here")
        for check in probe.CHECKS
    )
    monkeypatch.setattr(probe, "CHECKS", checks)
    with pytest.raises(SandboxUnavailable) as refusal:
        probe.require()
    assert str(refusal.value).startswith(f"SANDBOX_UNAVAILABLE: {name}: the kernel says no.")


def test_every_missing_wall_is_named_at_once(monkeypatch):
    monkeypatch.setattr(
        probe, "CHECKS", tuple(replace(c, ask=missing(f"no {c.name}")) for c in probe.CHECKS)
    )
    with pytest.raises(SandboxUnavailable) as refusal:
        probe.require()
    assert all(f"no {name}" in str(refusal.value) for name in REQUIRED)


def test_absence_of_an_optional_wall_stops_nothing(monkeypatch):
    checks = tuple(
        replace(check, ask=(lambda: "here") if check.required else missing("absent"))
        for check in probe.CHECKS
    )
    monkeypatch.setattr(probe, "CHECKS", checks)
    probe.require()
    assert not any(wall.present for wall in probe.probe() if not wall.required)


def test_every_wall_says_what_its_absence_costs():
    assert all(wall.without.endswith(".") for wall in probe.probe())


def refuse(*_arguments, **_options):
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("namespaces", kernel, "unshare"),
        ("namespaces", namespaces, "map_identity"),
        ("pid namespace", namespaces, "clone_worker"),
        ("landlock", landlock, "abi"),
        ("seccomp", seccomp, "install_noticing"),
        ("close_range", kernel, "syscall"),
        ("sealed memory", os, "memfd_create"),
    ],
)
def test_check_fails_where_the_kernel_refuses_what_it_asks(name, module, function, monkeypatch):
    monkeypatch.setattr(module, function, refuse)
    wall = next(wall for wall in probe.probe() if wall.name == name)
    assert not wall.present
    assert "not implemented" in wall.found


def test_child_with_half_a_filter_neither_hangs_nor_lives_on(monkeypatch):
    monkeypatch.setattr(seccomp, "install_closing", refuse)
    with pytest.raises(SandboxUnavailable, match="seccomp: the probing child ended with 1"):
        probe.require()


def test_landlock_too_old_is_named_with_both_numbers(monkeypatch):
    monkeypatch.setattr(landlock, "abi", lambda: 4)
    with pytest.raises(SandboxUnavailable, match="landlock abi 4 < 6"):
        probe.require()


def test_seccomp_without_the_actions_is_missing(monkeypatch):
    monkeypatch.setattr(seccomp, "available", lambda: False)
    with pytest.raises(SandboxUnavailable, match="seccomp: no filter"):
        probe.require()


def test_filter_that_is_not_in_force_is_noticed(monkeypatch):
    monkeypatch.setattr(seccomp, "in_force", lambda: False)
    with pytest.raises(SandboxUnavailable, match="seccomp"):
        probe.require()


def test_other_machine_is_refused(monkeypatch):
    monkeypatch.setattr(probe.platform, "machine", lambda: "aarch64")
    with pytest.raises(SandboxUnavailable, match="aarch64"):
        probe.require()


def test_worker_that_dies_in_its_first_moment_is_a_missing_wall(monkeypatch):
    def clone():
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        return namespaces.Child(pid, os.pidfd_open(pid))

    monkeypatch.setattr(namespaces, "clone_worker", clone)
    with pytest.raises(SandboxUnavailable, match="pid namespace: a worker could not be cloned"):
        probe.require()


@pytest.mark.parametrize(
    ("setting", "present", "found"),
    [
        ("always madvise [never]\n", False, "transparent huge pages are off"),
        ("always [madvise] never\n", True, "madvise"),
        (None, False, "No such file or directory"),
    ],
)
def test_huge_pages_are_what_the_kernel_says_of_them(
    setting, present, found, tmp_path, monkeypatch
):
    if setting is not None:
        (tmp_path / "enabled").write_text(setting)
    monkeypatch.setattr(probe, "Path", lambda _: tmp_path / "enabled")
    wall = next(wall for wall in probe.probe() if wall.name == "huge pages")
    assert (wall.present, wall.found, wall.required) == (present, found, False)


@pytest.mark.parametrize(("number", "abi"), [(errno.ENOSYS, 0), (errno.EOPNOTSUPP, 0)])
def test_kernel_without_landlock_has_abi_zero(number, abi, monkeypatch):
    monkeypatch.setattr(kernel, "syscall", refuse_with(number))
    assert landlock.abi() == abi


def test_landlock_that_cannot_be_asked_is_not_taken_for_absent(monkeypatch):
    monkeypatch.setattr(kernel, "syscall", refuse_with(errno.EPERM))
    with pytest.raises(OSError, match="refused"):
        landlock.abi()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_kernel_without_keyrings_needs_none_left(number, monkeypatch):
    monkeypatch.setattr(kernel, "syscall", refuse_with(number))
    keyrings.leave_session()


def test_keyring_that_cannot_be_left_stops_the_zygote(monkeypatch):
    monkeypatch.setattr(kernel, "syscall", refuse_with(errno.EDQUOT))
    with pytest.raises(OSError, match="refused"):
        keyrings.leave_session()


def refuse_with(number):
    def refused(*_):
        raise OSError(number, "refused")

    return refused
