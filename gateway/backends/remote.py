"""A remote tier's endpoint: an OpenAI-compatible server over mutual TLS, trusted with little.

What is sent is built here from checked values: nothing a client wrote becomes a field, a header or
a path. The server's caches are kept apart by tenant. Its answers are held to what was asked, and
marked by nobody: their outcome says so.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.backends.base import OPTIONS, Ask, Call, Capabilities, Complete, Load, Text, Usage
from gateway.backends.events import Delta, EventReader, Expected
from gateway.backends.http1 import Answer, Cut, NoHttp
from gateway.backends.observed import Observed
from gateway.backends.profiles import CHAT, COMPLETIONS, Profile
from gateway.backends.scrape import read
from gateway.backends.transport import Transport, failures
from gateway.errors import UpstreamFailed
from watermark.argument import ARGUMENT, packed

METRICS_LIMIT_BYTES = 4 << 20
OVERLOADED = frozenset({429, 502, 503, 504})
# What a server says of the request rather than of itself.
REJECTED = frozenset({400, 413, 422})
GOOD = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each part of an answer may take, in seconds."""

    connect_s: float = 2.0
    first_token_s: float = 30.0
    stall_s: float = 15.0
    deadline_s: float = 120.0
    probe_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Remote:
    """An endpoint as configured. model: the server's name for what it serves."""

    name: str
    tier: str
    model: str
    profile: Profile
    capabilities: Capabilities
    patience: Patience = Patience()


class RemoteBackend:
    """One endpoint, for one event loop. `close` ends its connections.

    salt: the tenant's cache salt, hexadecimal, from the keyring.
    """

    def __init__(
        self,
        remote: Remote,
        transport: Transport,
        *,
        salt: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.remote = remote
        self._transport = transport
        self._salt = salt
        self._observed = Observed(clock)

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.remote.name

    @property
    def load(self) -> Load:
        """The load by its own word where that is fresh, never below what we gave it ourselves."""
        return self._observed.load

    async def close(self) -> None:
        """End its connections."""
        await self._transport.close()

    async def generate(self, ask: Ask) -> AsyncGenerator[Text | Call | Complete, None]:
        """Yield the answer's text, then its end. Closing the iterator closes the connection.

        Raises:
            UpstreamFailed: No whole answer came.
        """
        expected = Expected(
            self.remote.model, ask.max_tokens, ask.callable, bool(ask.options.get("logprobs"))
        )
        reader = EventReader(expected, bare=ask.prompt is not None)
        tally = _Tally()
        patience = self.remote.patience
        body = msgspec.json.encode(self.body(ask))
        path = CHAT if ask.prompt is None else COMPLETIONS
        with self._observed.answering(ask.max_tokens) as watch:
            answer = await self._transport.post(path, body)
            try:
                await self._begun(answer)
                # A timer rather than a timeout around the reads: it also ends an answer whose
                # reader stalls, and cancels nobody who happens to hold the iterator then.
                timer = asyncio.get_running_loop().call_later(patience.deadline_s, answer.close)
                limit_s = patience.first_token_s
                try:
                    while data := await _read(answer, limit_s):
                        limit_s = patience.stall_s
                        for item in _told(reader.feed(data), tally):
                            watch.token()
                            yield item
                finally:
                    timer.cancel()
            finally:
                self._transport.release(answer)
            if tally.reason is None:
                raise UpstreamFailed("cut", "it ended its stream before its answer")
            yield Complete(tally.reason, tally.usage(), self._attestation())

    async def probe(self) -> bool:
        """Ask for its health and load. Its word opens no breaker and closes none."""
        try:
            async with asyncio.timeout(self.remote.patience.probe_s):
                status, _ = await self._transport.get(self.remote.profile.health, limit_bytes=65536)
                await self._scrape()
        except (TimeoutError, UpstreamFailed):
            return False
        return status == GOOD

    async def _scrape(self) -> None:
        profile = self.remote.profile
        if profile.metrics is None or profile.gauges is None:
            return
        status, page = await self._transport.get(profile.metrics, limit_bytes=METRICS_LIMIT_BYTES)
        told = read(page.decode("utf-8", "replace"), profile.gauges) if status == GOOD else None
        if told is not None:
            self._observed.told(*told)

    async def _begun(self, answer: Answer) -> None:
        """Wait for an answer's head, and check that it is a stream at all."""
        patience = self.remote.patience
        try:
            async with asyncio.timeout(min(patience.first_token_s, patience.deadline_s)):
                with failures():
                    await answer.head()
        except TimeoutError:
            raise UpstreamFailed("stalled", "no answer began in time") from None
        _require_stream(answer)

    def body(self, ask: Ask) -> dict[str, Any]:
        """Build the request. Only what is listed here and in the profile is ever sent."""
        profile = self.remote.profile
        body: dict[str, Any] = {
            "model": self.remote.model,
            **_wording(ask),
            "stream": True,
            "stream_options": {"include_usage": True},
            "n": 1,
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
        }
        if profile.top_k:
            body["top_k"] = ask.top_k
        if ask.stops:
            body["stop"] = list(ask.stops)
        if ask.seed is not None:
            body["seed"] = ask.seed
        if profile.salted:
            body["cache_salt"] = self._salt(ask.tenant)
        if profile.marks and ask.mark is not None:
            body["vllm_xargs"] = {ARGUMENT: packed(ask.mark)}
        wanted = {name: value for name, value in ask.options.items() if name in OPTIONS}
        return {**body, **wanted, **profile.unshared}

    def _attestation(self) -> Mapping[str, Any]:
        return {
            "endpoint": self.remote.name,
            "tier": self.remote.tier,
            "upstream_model": self.remote.model,
            "server": self.remote.profile.name,
            "mutual_tls": self._transport.mutual,
        }


class _Tally:
    """Counts an answer as it comes."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._told: tuple[int, int] | None = None
        self._pieces = 0

    def add(self, delta: Delta) -> None:
        self.reason = delta.reason or self.reason
        self._told = delta.usage or self._told
        self._pieces += bool(delta.text or delta.calls)

    def usage(self) -> Usage:
        if self._told is None:
            return Usage(0, self._pieces, counted=False)
        return Usage(*self._told, counted=True)


def _told(deltas: Iterable[Delta], tally: _Tally) -> Iterator[Text | Call]:
    """Yield what events say to a reader, and take note of all that they say."""
    held: Delta | None = None
    try:
        for delta in deltas:
            tally.add(delta)
            if delta.text or delta.likely:
                if held is not None:
                    yield Text(held.text, held.likely, more=True)
                held = delta
            if delta.calls:
                if held is not None:
                    yield Text(held.text, held.likely)
                held = None
                yield from delta.calls
    except UpstreamFailed:
        # What came before the fault is the answer's all the same.
        if held is not None:
            yield Text(held.text, held.likely)
        raise
    if held is not None:
        yield Text(held.text, held.likely)


async def _read(answer: Answer, limit_s: float) -> bytes:
    try:
        return await answer.read(limit_s)
    except TimeoutError:
        raise UpstreamFailed("stalled", "its stream stood still") from None
    except NoHttp:
        raise UpstreamFailed("garbage", "its answer is no HTTP") from None
    except Cut:
        raise UpstreamFailed("cut", "its connection ended within its answer") from None


def _wording(ask: Ask) -> dict[str, Any]:
    """Return what is asked: a text to continue, or turns of which only known members are sent."""
    if ask.prompt is not None:
        return {"prompt": ask.prompt}
    members = ("role", "content", "tool_calls", "tool_call_id")
    return {"messages": [{name: t[name] for name in members if name in t} for t in ask.turns]}


def _require_stream(answer: Answer) -> None:
    """Raise unless this is a stream of events.

    What a server writes into an error is not passed on: it may quote the prompt.
    """
    if answer.status in OVERLOADED:
        raise UpstreamFailed("overloaded", f"it answered {answer.status}")
    if answer.status in REJECTED:
        raise UpstreamFailed("rejected", f"it answered {answer.status}")
    if answer.status != GOOD:
        raise UpstreamFailed("refused", f"it answered {answer.status}")
    if answer.content_type != "text/event-stream":
        raise UpstreamFailed("garbage", "its answer is no stream of events")
