"""A remote tier's answer as this gateway tells one: values back in place, calls as our own write.

A call is written as `{"name":…,"arguments":…}`, which is how a model of this machine writes one, so
that what is recorded, committed to and rendered is the same for both.
"""

import json
from collections.abc import Iterator

import msgspec

from gateway.backends.base import Call, Likely, Text
from gateway.outgoing import Outgoing
from gateway.question import TokenLikelihood
from privacy.deidentify import Restorer


class Said(msgspec.Struct, frozen=True):
    """Some of the answer. tokens: their ids, where they are known. call: one begins here.

    more: whether the next of it is there already, so that both can go out together. A msgspec
    structure, as each piece makes one.
    """

    text: str
    tokens: tuple[int, ...] = ()
    likelihoods: tuple[TokenLikelihood, ...] = ()
    call: bool = False
    more: bool = False

    def __repr__(self) -> str:
        """Show nothing of what is said."""
        return f"Said(call={self.call}, more={self.more})"


class RemoteReading:
    """Reads one choice."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._restorer = outgoing.restorer()
        # Of the call that is open, None while there is none.
        self._arguments: _Arguments | None = None

    def text(self, item: Text) -> Said:
        """Return some text; told even when all of it is held back, as one of the answer's."""
        told = item.text if self._restorer is None else self._restorer.feed(item.text)
        return Said(told, (), tuple(map(_likelihood, item.likely)), more=item.more)

    def call(self, item: Call) -> Iterator[Said]:
        """Yield what a part of a call comes to."""
        if item.name is not None:
            yield from self._closed()
            self._arguments = _Arguments(self._outgoing.json_restorer())
            yield Said(f'{{"name":{json.dumps(item.name)},"arguments":', call=True)
        if self._arguments is not None:
            yield Said(self._arguments.feed(item.arguments))

    def finish(self, *, complete: bool) -> Iterator[Said]:
        """Yield what was held back. complete: the model ended the answer, not a limit."""
        if complete:
            yield from self._closed()
        elif self._arguments is not None:
            yield Said(self._arguments.finish())
        elif self._restorer is not None and (rest := self._restorer.finish()):
            yield Said(rest)

    def _closed(self) -> Iterator[Said]:
        """End what is open: text before a call, or a call."""
        if self._arguments is not None:
            rest = self._arguments.finish()
            yield Said(f"{rest}}}" if self._arguments.any else "{}}")
            self._arguments = None
        elif self._restorer is not None and (rest := self._restorer.finish()):
            yield Said(rest)


class _Arguments:
    """One call's arguments. any: whether there were some; a server may send none at all."""

    def __init__(self, restorer: Restorer | None) -> None:
        self._restorer = restorer
        self.any = False

    def feed(self, text: str) -> str:
        self.any = self.any or bool(text)
        return text if self._restorer is None else self._restorer.feed(text)

    def finish(self) -> str:
        return "" if self._restorer is None else self._restorer.finish()


def _likelihood(told: Likely) -> TokenLikelihood:
    return TokenLikelihood(told.token, told.logprob, told.top)
