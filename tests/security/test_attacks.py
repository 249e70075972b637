"""Every attack of attacks.py in a locked worker, and again where seccomp is lifted."""

import errno

import pytest
import pytest_asyncio

from sandbox.errors import CallRefused, WorkerDied
from tests.security import attacks
from tests.security.hostile import answered, job
from tests.security.hostile_zygote import FIRST_ATTACK, PASSED

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBERED = [
    pytest.param(FIRST_ATTACK + index, attack, id=attack.name.replace(" ", "-"))
    for index, attack in enumerate(attacks.ATTACKS)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unfiltered(pool_of):
    async with pool_of("unfiltered_zygote.py") as pool:
        yield pool


@pytest.mark.parametrize(("what", "attack"), NUMBERED)
async def test_attack_is_refused_by_name_and_ends_the_worker(what, attack, pool, listening):
    with pytest.raises(CallRefused) as refusal:
        await answered(pool, job(what, listening))
    end = refusal.value.attestation["end"]
    assert (end["how"], end["call"]) == ("refused call", attack.refused)


@pytest.mark.parametrize(("what", "attack"), NUMBERED)
async def test_second_wall_does_what_the_table_says(what, attack, unfiltered, listening):
    with pytest.raises(WorkerDied) as death:
        await answered(unfiltered, job(what, listening))
    end = death.value.attestation["end"]
    assert end["how"] == "exit", end
    outcome = "passes" if end["code"] == PASSED else errno.errorcode[end["code"]]
    assert outcome in {*attack.lifted, attacks.ALWAYS_FINE}


async def test_zygotes_outlived_every_attack(pool, unfiltered):
    """They ran above, and nobody had to start another."""
    for survivor in (pool, unfiltered):
        tokens, finished = await answered(survivor, job(1))
        assert len(tokens) == 4
        assert finished.attestation["end"]["code"] == 0
        assert survivor._trouble == ""
