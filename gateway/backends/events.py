"""An upstream's stream of server-sent events, read with suspicion: bytes in, checked pieces out.

Nothing that comes is believed before it was checked: sizes, types, the model's name, the end.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.errors import UpstreamFailed

LINE_LIMIT_BYTES = 1 << 20
# A token is a handful of characters; one that is longer on the average is no answer.
CHARACTERS_A_TOKEN = 64
REASONS = frozenset({"stop", "length"})
DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event says. reason: set on the last text. usage: prompt and completion tokens."""

    text: str
    reason: str | None
    usage: tuple[int, int] | None


class EventReader:
    """Splits one response's bytes into events and holds them to what was asked.

    model: the name the server must answer under. max_tokens: what was asked for.
    """

    def __init__(self, *, model: str, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._room = (max_tokens + 1) * CHARACTERS_A_TOKEN
        self._rest = bytearray()
        self.done = False

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield what the events completed by `data` say.

        Raises:
            UpstreamFailed: They are no chat completion, of another model, or too much.
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
        if event.get("model") != self._model:
            raise UpstreamFailed("other_model", "it answered under another model's name")
        delta = Delta(*_choice(event), _usage(event, most=self._max_tokens))
        self._room -= len(delta.text)
        if self._room < 0:
            raise UpstreamFailed("garbage", "it sent more text than was asked for")
        yield delta


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise UpstreamFailed("garbage", "an event of its stream is no JSON object")
    if "error" in event:
        raise UpstreamFailed("refused", "it ended its stream with an error")
    return event


def _choice(event: dict[str, Any]) -> tuple[str, str | None]:
    """Return the text and the reason of an event's only choice; usage comes without one."""
    choices = event.get("choices")
    if choices == []:
        return "", None
    match choices:
        case [{"delta": dict(delta)} as choice] if len(choice) <= LINE_LIMIT_BYTES:
            text, reason = delta.get("content") or "", choice.get("finish_reason")
        case _:
            raise UpstreamFailed("garbage", "an event of its stream has no choice")
    if not isinstance(text, str) or (reason is not None and reason not in REASONS):
        raise UpstreamFailed("garbage", "an event of its stream has a choice of another kind")
    return text, reason


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
