"""Fifty clients at once: everybody is answered or told to come back, and everything is recorded."""

import asyncio

import openai
import pytest

from tests.e2e.deployment import MODEL, Gateway, eventually, sealgate, serve

CLIENTS = 50


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_fifty_clients_are_all_answered_and_recorded(idle_home):
    home, keys = idle_home
    with serve(home, acknowledgement_s=10, queue_s=150, concurrency=4) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key=keys["client"],
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
            max_retries=0,
            timeout=170,
        ) as client:
            answers = await asyncio.gather(*(ask(client, number) for number in range(CLIENTS)))
        request_ids = {answer._request_id for answer in answers}
        assert len(request_ids) == CLIENTS
        for request_id in request_ids:
            intent, outcome = gateway.events(request_id)
            assert intent["sealgate"]["phase"] == "intent"
            assert outcome["sealgate"]["ending"] == "completed"
        assert eventually(lambda: len(gateway.workers()) == 2)
    assert sealgate("audit", "verify", home=home).returncode == 0


async def ask(client, number):
    return await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": f"Name {number} things of a ward."}],
        max_tokens=8,
    )
