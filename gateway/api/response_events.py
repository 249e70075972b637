"""The events of a streamed response, in the order that OpenAI documents them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.answer import Answer
from gateway.api import response_objects as objects
from gateway.api import sse
from gateway.api.toolcalls import CallReader, Told
from gateway.question import Ended, Piece


@dataclass(slots=True)
class _Item:
    """One item of the output as it comes. called: the function's name, None for a message."""

    identity: str
    called: str | None
    told: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.object("in_progress")["id"])

    def object(self, status: str) -> dict[str, Any]:
        text = "".join(self.told)
        if self.called is not None:
            return objects.call(self.identity, self.called, text, status=status)
        return objects.message(
            self.identity, None if status == "in_progress" else text, status=status
        )


class ResponseEvents:
    """One response as it comes. calls: whether it may be functions' calls."""

    def __init__(self, response: Mapping[str, Any], *, calls: bool) -> None:
        self._response = response
        self._identity = str(response["id"]).removeprefix("resp_")
        self._calls = calls
        self._reader = CallReader()
        self._number = 0
        self._items: list[_Item] = []
        self._ended = 0
        self._complete = False

    def begin(self) -> bytes:
        """Return the events before the first piece."""
        return self._event("response.created", response=self._response) + self._event(
            "response.in_progress", response=self._response
        )

    def piece(self, item: Piece | Ended) -> bytes:
        """Return the events of one piece."""
        if isinstance(item, Piece):
            if not self._calls:
                return self._tell(Told(text=item.text))
            return self._tell(self._reader.feed(item.text, begins=item.call))
        self._complete = item.finish_reason == "stop"
        rest = self._reader.finish(complete=self._complete) if self._calls else Told()
        events = self._tell(rest)
        if not self._items:
            events += self._begin_item(None)
        return events + self._end_item(whole=self._complete)

    def complete(self, answer: Answer) -> dict[str, Any]:
        """Return the whole response, once every piece was told."""
        last = len(self._items) - 1
        items = [
            item.object("completed" if self._complete or index < last else "incomplete")
            for index, item in enumerate(self._items)
        ]
        return objects.finished(self._response, answer, items, complete=self._complete)

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece."""
        kind = "response.completed" if self._complete else "response.incomplete"
        return self._event(kind, response=self.complete(answer) | dict(extra))

    def _tell(self, told: Told) -> bytes:
        if told.call is not None:
            events = self._end_item(whole=True) + self._begin_item(told.call)
        elif told.text and not self._items:
            events = self._begin_item(None)
        else:
            events = b""
        delta = told.arguments or told.text
        if not delta:
            return events
        item = self._items[-1]
        item.told.append(delta)
        if item.called is not None:
            return events + self._event("response.function_call_arguments.delta", delta=delta)
        return events + self._part_event("response.output_text.delta", delta=delta, logprobs=[])

    def _begin_item(self, called: str | None) -> bytes:
        suffix = f"_{len(self._items)}" if self._items else ""
        item = _Item(self._identity + suffix, called)
        self._items.append(item)
        added = self._event("response.output_item.added", item=item.object("in_progress"))
        if called is not None:
            return added
        return added + self._part_event("response.content_part.added", part=objects.content(""))

    def _end_item(self, *, whole: bool) -> bytes:
        """Return the events that end the item that is open, if one is."""
        if self._ended == len(self._items):
            return b""
        self._ended = len(self._items)
        item, text = self._items[-1], "".join(self._items[-1].told)
        if item.called is not None:
            events = self._event(
                "response.function_call_arguments.done", arguments=text, name=item.called
            )
        else:
            events = self._part_event("response.output_text.done", text=text, logprobs=[])
            part = objects.content(text)
            events += self._part_event("response.content_part.done", part=part)
        status = "completed" if whole else "incomplete"
        return events + self._event("response.output_item.done", item=item.object(status))

    def _part_event(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        body: dict[str, Any] = {"type": kind, "sequence_number": self._number}
        self._number += 1
        if "response" not in fields:
            body["output_index"] = len(self._items) - 1
            if "item" not in fields:
                body["item_id"] = self._items[-1].id
        return f"event: {kind}\n".encode() + sse.event(msgspec.json.encode(body | fields))
