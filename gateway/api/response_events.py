"""The events of a streamed response, in the order that OpenAI documents them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.answer import Answer
from gateway.api import response_objects as objects
from gateway.api import sse
from gateway.api.toolcalls import CallReader, Told
from gateway.question import Ended, Piece


class ResponseEvents:
    """One response as it comes. calls: whether it may be a function's call."""

    def __init__(self, response: Mapping[str, Any], *, calls: bool) -> None:
        self._response = response
        self._identity = str(response["id"]).removeprefix("resp_")
        self._calls = calls
        self._reader = CallReader()
        self._number = 0
        self._begun = False
        self._called: str | None = None
        self._told = ""
        self._complete = False

    def begin(self) -> bytes:
        """Return the events before the first piece."""
        return self._event("response.created", response=self._response) + self._event(
            "response.in_progress", response=self._response
        )

    def piece(self, item: Piece | Ended) -> bytes:
        """Return the events of one piece."""
        if isinstance(item, Piece):
            return self._tell(self._reader.feed(item.text) if self._calls else Told(text=item.text))
        self._complete = item.finish_reason == "stop"
        rest = self._reader.finish(complete=self._complete) if self._calls else Told()
        return self._tell(rest) + self._finish_item()

    def complete(self, answer: Answer) -> dict[str, Any]:
        """Return the whole response, once every piece was told."""
        return objects.finished(
            self._response, answer, self._item("completed"), complete=self._complete
        )

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece."""
        kind = "response.completed" if self._complete else "response.incomplete"
        return self._event(kind, response=self.complete(answer) | dict(extra))

    def _tell(self, told: Told) -> bytes:
        if told.call is not None:
            self._called = told.call
        if told.call is None and not told.arguments and not told.text:
            return b""
        delta = told.arguments if self._called else told.text
        events = self._begin_item()
        self._told += delta
        if not delta:
            return events
        if self._called:
            return events + self._event("response.function_call_arguments.delta", delta=delta)
        return events + self._part_event("response.output_text.delta", delta=delta, logprobs=[])

    def _begin_item(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        added = self._event("response.output_item.added", item=self._item("in_progress"))
        if self._called:
            return added
        return added + self._part_event("response.content_part.added", part=objects.content(""))

    def _finish_item(self) -> bytes:
        events = self._begin_item()
        if self._called:
            events += self._event(
                "response.function_call_arguments.done", arguments=self._told, name=self._called
            )
        else:
            events += self._part_event("response.output_text.done", text=self._told, logprobs=[])
            part = objects.content(self._told)
            events += self._part_event("response.content_part.done", part=part)
        return events + self._event("response.output_item.done", item=self._item("completed"))

    def _item(self, status: str) -> dict[str, Any]:
        if status == "completed" and not self._complete:
            status = "incomplete"
        if self._called:
            return objects.call(self._identity, self._called, self._told, status=status)
        text = None if status == "in_progress" else self._told
        return objects.message(self._identity, text, status=status)

    def _part_event(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        body: dict[str, Any] = {"type": kind, "sequence_number": self._number}
        self._number += 1
        if "response" not in fields:
            body["output_index"] = 0
            if "item" not in fields:
                body["item_id"] = self._item("in_progress")["id"]
        return f"event: {kind}\n".encode() + sse.event(msgspec.json.encode(body | fields))
