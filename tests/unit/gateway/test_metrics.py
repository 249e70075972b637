import asyncio
import logging
import re
from pathlib import Path

import pytest

from gateway.admin import admin_listener
from gateway.lines import JsonLines
from gateway.metrics import Metrics

OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def families(text):
    return set(re.findall(r"^# TYPE (sealgate_\w+) ", text, re.MULTILINE))


def own(metrics):
    """Names as the documents have them: without the suffix that the format adds."""
    made = {name.removesuffix("_total") for name in families(metrics.render().decode())}
    return {name for name in made if not name.endswith("_created")}


def test_every_metric_is_documented_and_none_else():
    documented = set(re.findall(r"^\| `(sealgate_\w+)` \|", OPERATIONS, re.MULTILINE))
    assert documented == own(Metrics())
    assert len(documented) >= 20


def test_request_is_counted_once_with_its_times():
    clock = iter([10.0, 10.5, 12.0, 12.0, 12.5])
    metrics = Metrics()
    with metrics.request("chat.completions.create", lambda: next(clock)) as times:
        times.body(300)
        times.text()
        times.text()
        times.answered(model="m", prompt=5, completion=4, constrained=True)
        times.status = 200
    text = metrics.render().decode()
    assert 'sealgate_requests_total{operation="chat.completions.create",status="200"} 1.0' in text
    assert 'sealgate_first_text_seconds_sum{operation="chat.completions.create"} 0.5' in text
    assert 'sealgate_tokens_total{direction="out",model="m"} 4.0' in text
    assert 'sealgate_requests_running{operation="chat.completions.create"} 0.0' in text


def test_client_that_left_counts_as_499():
    metrics = Metrics()
    with pytest.raises(ZeroDivisionError), metrics.request("x", lambda: 0.0):
        raise ZeroDivisionError
    assert 'sealgate_requests_total{operation="x",status="499"} 1.0' in metrics.render().decode()


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"404"),
        (b"\x00\r\n\r\n", b"404"),
    ],
)
async def test_admin_listener_tells_metrics_and_nothing_else(asked, status):
    async with admin_listener("127.0.0.1", 0, Metrics().render) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(asked)
        answer = await reader.read()
        writer.close()
    assert answer.split()[1] == status
    assert (b"sealgate_requests_running" in answer) == (status == b"200")


async def test_admin_listener_outlives_a_head_that_is_too_long():
    async with admin_listener("127.0.0.1", 0, Metrics().render) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"a" * 100_000)
        assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


def test_line_is_one_json_object_even_with_a_traceback():
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        record = logging.LogRecord(
            "sealgate", 40, "f", 1, "%s failed", ("req_1",), (0, error, None)
        )
        record.exc_info = (type(error), error, error.__traceback__)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert '"message": "req_1 failed"' in line
    assert "ZeroDivisionError" in line
