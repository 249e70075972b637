"""A call of a tool, read out of an answer's text as it comes."""

import re
from dataclasses import dataclass

# How a call begins, in the form that the grammar holds it to.
_HEAD = re.compile(r'\{"name":"([A-Za-z0-9_.-]{1,64})","arguments":')
_BEGINNING = '{"name":"'


@dataclass(frozen=True, slots=True)
class Told:
    """What a piece of text turned out to be. call: the function's name, where a call begins.

    index: of the call in its answer.
    """

    text: str = ""
    call: str | None = None
    arguments: str = ""
    index: int = 0


class CallReader:
    """Splits one answer into text, and a function's name and its arguments, or several.

    The last brace closes the call and not its arguments, so one is always held back.
    """

    def __init__(self) -> None:
        self._held = ""
        self._free = False
        self._reading = False
        self._calls = 0

    @property
    def called(self) -> bool:
        """Whether a function was called."""
        return self._calls > 0

    def feed(self, text: str, *, begins: bool = False) -> Told:
        """Return what can be told now.

        begins: whether a call begins with this very text; without, one is known only by how the
        whole answer begins. What was told of before is over.
        """
        if begins:
            self._held, self._free, self._reading = "", False, False
        if self._free:
            return Told(text=text)
        self._held += text
        if self._reading:
            return Told(arguments=self._arguments(), index=self._calls - 1)
        head = _HEAD.match(self._held)
        if head is not None:
            self._reading = True
            self._calls += 1
            self._held = self._held[head.end() :]
            return Told(call=head[1], arguments=self._arguments(), index=self._calls - 1)
        if not self._may_be_call():
            self._free = True
            text, self._held = self._held, ""
            return Told(text=text)
        return Told()

    def finish(self, *, complete: bool) -> Told:
        """Return what is left. complete: the model ended the answer, not a limit."""
        held, self._held = self._held, ""
        if not self._reading:
            return Told(text=held)
        return Told(arguments="" if complete else held, index=self._calls - 1)

    def _arguments(self) -> str:
        told, self._held = self._held[:-1], self._held[-1:]
        return told

    def _may_be_call(self) -> bool:
        length = min(len(self._held), len(_BEGINNING))
        return self._held[:length] == _BEGINNING[:length]
