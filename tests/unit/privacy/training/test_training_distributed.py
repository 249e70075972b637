import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("distributed_run.py")
NOISE = 3.0
# Each starts an interpreter with torch for the launcher and for every rank.
pytestmark = pytest.mark.slow


GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")


@pytest.fixture(params=["gloo", pytest.param("nccl", marks=GPUS)])
def run(request, tmp_path, keyring):
    def started(mode):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
        command += ["--master-port", "0", "--standalone", str(SCRIPT)]
        command += [str(tmp_path), mode, request.param]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return started


def test_two_processes_make_one_run_and_none_sends_a_sum_without_noise(run):
    found = run("plain")
    assert found["same"]
    assert found["certificate"]["mechanism"]["noise_shares"] == 2
    assert found["certificate"]["mechanism"]["steps_charged"] == 20
    # Each rank's share has half the variance. What it sends is its noise and, far smaller, the
    # gradients: about 840 numbers in 20 steps pin the deviation to a percent.
    for deviation in found["deviations"]:
        assert deviation == pytest.approx(NOISE / 2**0.5, rel=0.05)
    # Each rank draws from its half of the records: 20 steps of 20 records on average.
    assert 300 < found["drawn_by_rank_0"] < 500
    assert found["sent_bytes"] == found["whole_bytes"]


def test_powersgd_sends_less_and_keeps_ranks_alike(run):
    found = run("powersgd")
    assert found["same"]
    assert found["sent_bytes"] < 0.3 * found["whole_bytes"]
    for deviation in found["deviations"]:
        assert deviation == pytest.approx(NOISE / 2**0.5, rel=0.05)


def test_without_noise_the_listener_would_notice(run):
    assert max(run("silent")["deviations"]) < 0.1 * NOISE
