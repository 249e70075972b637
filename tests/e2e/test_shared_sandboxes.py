"""A gateway whose answers may share sandboxes: same words, one tenant each, all recorded."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import openai
import pytest

from tests.e2e.deployment import (
    ENDLESS,
    MODEL,
    Gateway,
    add_keys,
    eventually,
    sealgate,
    serve,
)

QUESTIONS = ["Name a ward.", "Name three kinds of nurse, please.", "Hi", "What is a splint for?"]


@pytest.fixture
async def sharing(idle_home):
    """Serve with batches on; yield the gateway and a client of each of two tenants."""
    home, keys = idle_home
    tenants = {"clinic": keys["client"], "lab": add_keys(home, "lab")["client"]}
    options = {"batch_limit": 4, "batch_window_ms": 50, "workers": 2, "concurrency": 2}
    with serve(home, acknowledgement_s=30, queue_s=100, **options) as (process, url):
        clients = {
            tenant: openai.AsyncOpenAI(
                base_url=f"{url}/v1",
                api_key=key,
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
                max_retries=0,
                timeout=120,
            )
            for tenant, key in tenants.items()
        }
        yield Gateway(home, url, process.pid, keys), clients
        for client in clients.values():
            await client.close()
    assert sealgate("audit", "verify", home=home).returncode == 0


def ask(client, question, **options):
    messages = [{"role": "user", "content": question}]
    wanted = {"max_tokens": 12, "temperature": 0, **options}
    return client.chat.completions.create(model=MODEL, messages=messages, **wanted)


def shared(gateway, answer):
    """Return how many answers each choice's sandbox held, from the log."""
    outcome = gateway.events(answer._request_id)[-1]["sealgate"]
    assert outcome["ending"] == "completed"
    return [choice["sandbox"].get("batch", 1) for choice in outcome["choices"]]


@asynccontextmanager
async def gathered(gateway, clients, count):
    """Let requests wait until there are so many: each tenant's first answer holds a slot till then.

    They can stand in one worker then, however far apart a busy machine has them come.
    """
    options = {"max_tokens": 2000, "logit_bias": ENDLESS, "stream": True}
    busy = [await ask(client, QUESTIONS[3], **options) for client in clients.values()]
    for each in busy:
        await anext(aiter(each))
    begun = intents(gateway) + count
    yield
    assert await asyncio.to_thread(eventually, lambda: intents(gateway) == begun)
    for each in busy:
        await each.close()


def intents(gateway):
    return sum(each["sealgate"]["phase"] == "intent" for each in gateway.events())


async def test_shared_answers_are_the_same_recorded_and_of_one_tenant(sharing):
    gateway, clients = sharing
    alone = [await ask(clients["clinic"], question) for question in QUESTIONS]
    assert [shared(gateway, answer) for answer in alone] == [[1]] * 4
    askers = [clients["clinic"]] * 4 + [clients["lab"]] * 2
    asked = zip(askers, QUESTIONS + QUESTIONS[:2], strict=True)
    async with gathered(gateway, clients, 6):
        tasks = [asyncio.create_task(ask(client, question)) for client, question in asked]
    together = await asyncio.gather(*tasks)
    words = [answer.choices[0].message.content for answer in alone]
    assert [answer.choices[0].message.content for answer in together] == words + words[:2]
    # Four of one tenant and two of the other: at most those ever stand in one worker.
    counts = [shared(gateway, answer)[0] for answer in together]
    assert max(counts[:4]) > 1
    assert max(counts[4:]) <= 2
    for answer in together:
        choice = gateway.events(answer._request_id)[-1]["sealgate"]["choices"][0]
        assert choice["sandbox"]["end"]["how"] in {"exit", "left"}


async def test_choices_of_one_request_share_one_sandbox_and_differ(sharing):
    gateway, clients = sharing
    answer = await ask(clients["clinic"], QUESTIONS[1], n=4, temperature=1.0, max_tokens=24)
    assert shared(gateway, answer) == [4, 4, 4, 4]
    assert len({choice.message.content for choice in answer.choices}) > 1
    outcome = gateway.events(answer._request_id)[-1]["sealgate"]
    assert len({choice["trace_id"] for choice in outcome["choices"]}) == 4
    ends = Counter(choice["sandbox"]["end"]["how"] for choice in outcome["choices"])
    assert ends["exit"] == 1


async def test_client_that_leaves_leaves_its_mate_the_whole_answer(sharing):
    gateway, clients = sharing
    client = clients["clinic"]
    options = {"temperature": 1.0, "logit_bias": ENDLESS}
    async with gathered(gateway, clients, 2):
        stays = asyncio.create_task(ask(client, QUESTIONS[0], max_tokens=60, **options))
        going = asyncio.create_task(
            ask(client, QUESTIONS[3], max_tokens=400, stream=True, **options)
        )
    leaves = await going
    await anext(aiter(leaves))
    await leaves.close()
    answer = await stays
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 60
    assert shared(gateway, answer) == [2]
    # Nobody listens to the other any more: its worker does not finish it.
    assert eventually(lambda: len(gateway.workers()) == 2)
