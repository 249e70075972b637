"""What comes along with a message: descriptors that no child inherits, and nothing else."""

import os
import socket

import pytest

from sandbox.descriptors import receive


@pytest.mark.parametrize("credentials", [0, 1])
def test_descriptors_alone_are_taken_and_no_child_inherits_them(credentials):
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull, "rb") as file:  # noqa: PTH123 - a descriptor is wanted
        # The kernel then says who sent it, beside what was sent.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, credentials)
        socket.send_fds(theirs, [b"text"], [file.fileno(), file.fileno()])
        data, taken = receive(ours, 100, most=16)
        assert data == b"text"
        assert [os.fstat(d).st_rdev for d in taken] == [os.fstat(file.fileno()).st_rdev] * 2
        assert not any(os.get_inheritable(d) for d in taken)
        for descriptor in taken:
            os.close(descriptor)


def test_message_without_descriptors_brings_none():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"text")
        assert receive(ours, 3, most=1) == (b"tex", [])
