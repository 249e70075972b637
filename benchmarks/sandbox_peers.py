"""bubblewrap, as the way to confine one answer that is there already."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.sandbox_weights import Weights
from sandbox.wire import Job

# As much apart as our own workers are, save that the files must stay readable to load anything.
CONFINED = ("--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--cap-drop", "ALL")
SCRIPT = Path(__file__).with_name("sandbox_peer_engine.py")


def bwrap_true() -> float | None:
    """Return the milliseconds that `bwrap true` takes, from start to end; None where it fails."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    begun = time.perf_counter()
    done = subprocess.run([bwrap, *CONFINED, "true"], check=False, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000 if done.returncode == 0 else None


class BwrapEngine:
    """A fresh bubblewrap around a fresh interpreter that loads the model and answers one job."""

    def __init__(self, weights: Weights, job: Job) -> None:
        self._weights = weights
        self._given = json.dumps(
            {
                "descriptor": weights.descriptor,
                "header": weights.header,
                "job": msgspec.msgpack.encode(job).hex(),
            }
        )

    @property
    def present(self) -> bool:
        """Whether bubblewrap runs here at all."""
        return bwrap_true() is not None

    def once(self) -> float:
        """Return the milliseconds from start to end.

        Raises:
            subprocess.CalledProcessError: It did not answer.
        """
        bwrap = shutil.which("bwrap") or "bwrap"
        begun = time.perf_counter()
        subprocess.run(
            [bwrap, *CONFINED, sys.executable, "-I", str(SCRIPT)],
            input=self._given,
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
            pass_fds=(self._weights.descriptor,),
        )
        return (time.perf_counter() - begun) * 1000
