"""Loads the model from an inherited descriptor and answers one job: what bubblewrap confines."""

import json
import mmap
import os
import sys

from sandbox.engines.onnx import OnnxEngine
from sandbox.generate import generate
from sandbox.wire import decode_job


def main() -> None:
    """Answer, and leave as a worker does."""
    given = json.load(sys.stdin)
    memory = mmap.mmap(given["descriptor"], 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    engine = OnnxEngine.load(given["header"], memoryview(memory))
    generate(engine, decode_job(bytes.fromhex(given["job"])), emit=lambda _: None)
    os._exit(0)


if __name__ == "__main__":
    main()
