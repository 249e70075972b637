"""What instructor asks of a gateway, as `test_other_clients.py` runs it."""

import asyncio
import os
from typing import Literal

import instructor
import openai
from pydantic import BaseModel


class Ward(BaseModel):
    name: Literal["A", "B"]
    beds: Literal[2, 3]


ASK = {
    "model": os.environ["MODEL"],
    "messages": [{"role": "user", "content": "A ward, please."}],
    "max_tokens": 120,
    "temperature": 0,
    "response_model": Ward,
    "max_retries": 0,
}


async def at_once(mode):
    client = instructor.from_openai(openai.AsyncOpenAI(max_retries=0, timeout=120), mode=mode)
    wards = await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(2)))
    assert all(isinstance(ward, Ward) for ward in wards), mode


for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(max_retries=0, timeout=120), mode=mode)
    whole = client.chat.completions.create(**ASK)
    assert isinstance(whole, Ward), mode
    options = {name: value for name, value in ASK.items() if name != "response_model"}
    *_, last = client.chat.completions.create_partial(response_model=Ward, **options)
    assert (last.name, last.beds) == (whole.name, whole.beds), mode
    asyncio.run(at_once(mode))
