"""Handing a model's image to the process that will run it: one message, one sealed file."""

import json
import select
import socket
import struct
import time
from typing import Any

from privacy.errors import WeightsUndelivered

TIMEOUT_S = 30.0


def deliver(destination: socket.socket, *, manifest: dict[str, Any], descriptor: int) -> None:
    """Send the image's head and its descriptor, docs/formats/broker-v1.md.

    Raises:
        WeightsUndelivered: The receiver left or did not read in time.
    """
    head = json.dumps(
        {
            "config": manifest["config"],
            "graph": {name: manifest["graph"][name] for name in ("offset", "length")},
            "tensors": [
                {name: tensor[name] for name in ("name", "dtype", "shape", "offset", "length")}
                for tensor in manifest["tensors"]
            ],
        }
    ).encode()
    message = len(head).to_bytes(4, "big") + head
    deadline = time.monotonic() + TIMEOUT_S
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))]
    while message:
        _await_writable(destination, deadline)
        try:
            # Not socket.send_fds: it drops its flags, and this would block.
            sent = destination.sendmsg([message], rights, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError:
            raise _undelivered("The receiver of the weights left") from None
        message, rights = message[sent:], []


def _await_writable(destination: socket.socket, deadline: float) -> None:
    # The socket's flags are shared with the process that lent it and stay as they are: waiting
    # is done here, and no send blocks.
    poll = select.poll()
    poll.register(destination, select.POLLOUT)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise _undelivered("The receiver of the weights did not read them in time")


def _undelivered(what: str) -> WeightsUndelivered:
    return WeightsUndelivered(f"{what}. Start the model's sandbox again.")
