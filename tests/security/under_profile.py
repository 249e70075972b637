"""`under_profile.py FILE ARGV…`: take a seccomp profile on, then become another program."""

import ctypes
import json
import os
import struct
import sys
from pathlib import Path

from sandbox import calls, kernel

X86_64 = 0xC000003E
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def main():
    profile = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    numbers = {calls.name(number): number for number in range(600)}
    allowed = [numbers[n] for rule in profile["syscalls"] for n in rule["names"]]
    code = struct.pack("=HBBI", 0x20, 0, 0, 4)
    code += struct.pack("=HBBI", 0x15, 1, 0, X86_64) + struct.pack("=HBBI", 0x06, 0, 0, KILL)
    code += struct.pack("=HBBI", 0x20, 0, 0, 0)
    for number in allowed:
        code += struct.pack("=HBBI", 0x15, 0, 1, number) + struct.pack("=HBBI", 0x06, 0, 0, ALLOW)
    code += struct.pack("=HBBI", 0x06, 0, 0, ERRNO | profile["defaultErrnoRet"])
    memory = ctypes.create_string_buffer(code, len(code))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(memory))
    kernel.syscall(kernel.SECCOMP, 1, 0, header)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted here


if __name__ == "__main__":
    main()
