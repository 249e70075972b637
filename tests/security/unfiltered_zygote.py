"""The hostile zygote with seccomp lifted, and with it the limit on descriptors.

An attacker who has got past seccomp gets past that limit too, by closing the socket it has.
Every other wall stands. The protocol stays: notices are handed over, and never come.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - as plain as the -I it makes up for

import hostile_zygote

from sandbox import limits, seccomp, zygote


def build():
    """Make filters that allow everything; the self-test's sentinel alone is answered."""
    sentinel = [
        seccomp._load(seccomp._NUMBER),
        seccomp._jump_equal(seccomp.SENTINEL.number, 0, 1),
        seccomp._return(seccomp._ERRNO | seccomp.SENTINEL_ERRNO),
    ]
    allow = seccomp._return(seccomp._ALLOW)
    return seccomp.Filters("none", seccomp._program([*sentinel, allow]), seccomp._program([allow]))


if __name__ == "__main__":
    seccomp.build = build
    limits.allow_descriptors = lambda _: None
    zygote.main(hostile_zygote.load)
