"""An upstream's stream of server-sent events, read with suspicion: bytes in, checked pieces out.

Nothing that comes is believed before it was checked: sizes, types, the model's name, the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.backends import likely
from gateway.backends.base import Call, Likely
from gateway.errors import UpstreamFailed

LINE_LIMIT_BYTES = 1 << 20
# A token is a handful of characters; one that is longer on the average is no answer.
CHARACTERS_A_TOKEN = 64
REASONS = frozenset({"stop", "length"})
CALLED = "tool_calls"
# More calls than any answer has.
CALL_LIMIT = 64
DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Expected:
    """What was asked, and an answer is held to. functions: names that it may call."""

    model: str
    max_tokens: int
    functions: frozenset[str] = frozenset()
    likelihoods: bool = False


class Delta(msgspec.Struct, frozen=True):
    """What one event says. reason: set on the last text. usage: prompt and completion tokens.

    A msgspec structure, as each event makes one: a frozen dataclass takes eight times as long.
    """

    text: str = ""
    reason: str | None = None
    usage: tuple[int, int] | None = None
    calls: tuple[Call, ...] = ()
    likely: tuple[Likely, ...] = ()

    def __repr__(self) -> str:
        """Show nothing of what is said."""
        return f"Delta(reason={self.reason!r}, usage={self.usage!r})"


class EventReader:
    """Splits one response's bytes into events and holds them to what was asked.

    bare: whether a text is continued, and not a conversation.
    """

    def __init__(self, expected: Expected, *, bare: bool = False) -> None:
        self._expected = expected
        self._bare = bare
        self._room = (expected.max_tokens + 1) * CHARACTERS_A_TOKEN
        self._rest = bytearray()
        self._calls = 0
        self.done = False

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield what the events completed by `data` say.

        Raises:
            UpstreamFailed: They are no completion, of another model, or too much.
        """
        self._rest += data
        while not self.done and (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end]).rstrip(b"\r")
            del self._rest[: end + 1]
            if line.startswith(b"data:"):
                yield from self._event(line[5:].strip())
        if len(self._rest) > LINE_LIMIT_BYTES:
            raise UpstreamFailed("garbage", "a line of its stream has no end")

    def _event(self, body: bytes) -> Iterator[Delta]:
        if body == DONE:
            self.done = True
            return
        event = _decoded(body)
        if event.get("model") != self._expected.model:
            raise UpstreamFailed("other_model", "it answered under another model's name")
        usage = _usage(event, most=self._expected.max_tokens)
        choice = _choice(event)
        delta = Delta(usage=usage) if choice is None else self._delta(choice, usage)
        self._room -= len(delta.text) + sum(len(call.arguments) for call in delta.calls)
        if self._room < 0:
            raise UpstreamFailed("garbage", "it sent more text than was asked for")
        yield delta

    def _delta(self, choice: dict[str, Any], usage: tuple[int, int] | None) -> Delta:
        said = choice if self._bare else choice.get("delta")
        if not isinstance(said, dict):
            raise UpstreamFailed("garbage", "an event of its stream has no choice")
        text = said.get("text" if self._bare else "content") or ""
        reason = choice.get("finish_reason")
        if reason == CALLED and self._expected.functions:
            reason = "stop"
        known = reason is None or (isinstance(reason, str) and reason in REASONS)
        if not isinstance(text, str) or not known:
            raise UpstreamFailed("garbage", "an event of its stream has a choice of another kind")
        if self._calls and text:
            # White space between calls is nobody's.
            if text.strip():
                raise UpstreamFailed("garbage", "it went on in words after a call")
            text = ""
        told: tuple[Likely, ...] = ()
        if self._expected.likelihoods:
            told = likely.read(choice.get("logprobs"), bare=self._bare)
        return Delta(text, reason, usage, tuple(self._called(said.get("tool_calls"))), told)

    def _called(self, told: object) -> Iterator[Call]:
        """Check an event's parts of calls: each begins in turn, and only the last goes on."""
        if told is None or self._bare:
            return
        if not isinstance(told, list) or len(told) > CALL_LIMIT:
            raise UpstreamFailed("garbage", "an event of its stream has calls of another kind")
        for part in told:
            match part:
                case {"index": int(index), "function": dict(function)}:
                    yield self._part(index, function)
                case _:
                    raise UpstreamFailed("garbage", "a call of its stream has no function")

    def _part(self, index: int, function: dict[str, Any]) -> Call:
        name, arguments = function.get("name"), function.get("arguments") or ""
        given = isinstance(name, str) and name in self._expected.functions
        if index == self._calls < CALL_LIMIT and given:
            self._calls += 1
        elif index == self._calls - 1 and not name:
            name = None
        else:
            raise UpstreamFailed("garbage", "it called what it was not given")
        if not isinstance(arguments, str):
            raise UpstreamFailed("garbage", "the arguments of a call are no text")
        return Call(name, arguments)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise UpstreamFailed("garbage", "an event of its stream is no JSON object")
    if "error" in event:
        raise UpstreamFailed("refused", "it ended its stream with an error")
    return event


def _choice(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return an event's only choice; usage comes without one."""
    match event.get("choices"):
        case []:
            return None
        case [dict(choice)]:
            return choice
    raise UpstreamFailed("garbage", "an event of its stream has no choice")


def _usage(event: dict[str, Any], *, most: int) -> tuple[int, int] | None:
    usage = event.get("usage")
    if usage is None:
        return None
    match usage:
        case {"prompt_tokens": int(prompt), "completion_tokens": int(completion)}:
            # One more than asked for: servers differ in whether they count the end's token.
            if prompt >= 0 and 0 <= completion <= most + 1:
                return prompt, min(completion, most)
    raise UpstreamFailed("garbage", "it reports a usage that cannot be")
