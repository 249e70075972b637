"""A call of a tool, read out of an answer's text as it comes."""

import re
from dataclasses import dataclass

# How a call begins, in the form that the grammar holds it to.
_HEAD = re.compile(r'\{"name":"([A-Za-z0-9_.-]{1,64})","arguments":')
_BEGINNING = '{"name":"'


@dataclass(frozen=True, slots=True)
class Told:
    """What a piece of text turned out to be. call: the function's name, where a call begins."""

    text: str = ""
    call: str | None = None
    arguments: str = ""


class CallReader:
    """Splits one answer into text, or a function's name and its arguments.

    The last brace closes the call and not its arguments, so one is always held back.
    """

    def __init__(self) -> None:
        self._held = ""
        self._free = False
        self.called = False

    def feed(self, text: str) -> Told:
        """Return what can be told now."""
        if self._free:
            return Told(text=text)
        self._held += text
        if self.called:
            return Told(arguments=self._arguments())
        head = _HEAD.match(self._held)
        if head is not None:
            self.called = True
            self._held = self._held[head.end() :]
            return Told(call=head[1], arguments=self._arguments())
        if not self._may_be_call():
            self._free = True
            text, self._held = self._held, ""
            return Told(text=text)
        return Told()

    def finish(self, *, complete: bool) -> Told:
        """Return what is left. complete: the model ended the answer, not a limit."""
        held, self._held = self._held, ""
        if not self.called:
            return Told(text=held)
        return Told(arguments="" if complete else held)

    def _arguments(self) -> str:
        told, self._held = self._held[:-1], self._held[-1:]
        return told

    def _may_be_call(self) -> bool:
        length = min(len(self._held), len(_BEGINNING))
        return self._held[:length] == _BEGINNING[:length]
