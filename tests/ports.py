"""A port for a server that has to be told its own before it starts."""

import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000


def unused() -> int:
    """Return a port of loopback that nobody listens on.

    One that the kernel gives out would be somebody else's by the time that the server starts: to
    whoever asks for any port, and to every connection. None of those gets one below its range.
    """
    highest = int(EPHEMERAL.read_text(encoding="ascii").split()[0])
    while True:
        port = random.SystemRandom().randrange(LOWEST, max(highest, LOWEST + 1000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
