"""From a request's turns, tools and form to the conversation that is put to a model. Pure.

Chats and responses name these differently and mean the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.api.formats import (
    ResponseFormat,
    Tool,
    ToolChoice,
    format_grammar,
    tool_grammar,
    with_introduction,
)
from gateway.api.sampling import Sampling
from gateway.backends.base import Feature
from gateway.conversation import Conversation
from gateway.errors import RequestRefused


@dataclass(frozen=True, slots=True)
class Put:
    """What a request puts to a model, by the words of either API.

    messages: the turns with their calls as such, for a remote tier that can take them. likely: how
    many of the most likely tokens are told with each, None for no likelihoods. parallel: whether
    several tools may be called at once, None where the request does not say.
    """

    turns: Sequence[Mapping[str, str]] = field(repr=False)
    messages: Sequence[Mapping[str, Any]] = field(repr=False)
    tools: Sequence[Tool] = ()
    choice: ToolChoice | None = None
    form: ResponseFormat | None = None
    likely: int | None = None
    parallel: bool | None = None

    @property
    def calls(self) -> bool:
        """Whether the answer may be a tool's call."""
        return bool(self.tools) and self.choice != "none"

    def grammar(self) -> str:
        """Return what holds one of our own models' answer to its form; empty for free text.

        Raises:
            RequestRefused: A schema or a tool was named that is not there.
        """
        # A tool's call has its own form; the answer's form holds where no tool can be called.
        return tool_grammar(self.tools, self.choice) or format_grammar(self.form)

    def conversation(self, request: Sampling) -> Conversation:
        """Return the conversation."""
        options, features = sampled(request)
        if self.calls:
            options |= self._tools()
            features |= {"tools"}
        elif self.form is not None and self.form.type != "text":
            options["response_format"] = told(self.form)
            features |= {self.form.type}
        if self.likely is not None:
            options |= {"logprobs": True, "top_logprobs": self.likely}
            features |= {"logprobs"}
        return Conversation(
            turns=with_introduction(self.turns, self.tools) if self.calls else self.turns,
            messages=self.messages if self.calls else self.turns,
            options=options,
            features=features,
        )

    def _tools(self) -> dict[str, Any]:
        options: dict[str, Any] = {"tools": [told(tool) for tool in self.tools]}
        if self.choice is not None:
            options["tool_choice"] = told(self.choice)
        if self.parallel is not None:
            options["parallel_tool_calls"] = self.parallel
        return options


def sampled(request: Sampling) -> tuple[dict[str, Any], frozenset[Feature]]:
    """Return what a remote tier is told beside the usual numbers, and what it must be able to."""
    given: dict[Feature, dict[str, float | None]] = {
        "penalties": {
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
        },
        "min_p": {"min_p": request.min_p},
        "repetition_penalty": {"repetition_penalty": request.repetition_penalty},
    }
    options: dict[str, Any] = {}
    features: set[Feature] = {"token_ids"} if request.logit_bias else set()
    for feature, fields in given.items():
        asked = {name: value for name, value in fields.items() if value is not None}
        if asked:
            options |= asked
            features.add(feature)
    return options, frozenset(features)


def told(value: Any) -> Any:
    """Return a checked value as plain JSON, without the members that were not given."""
    plain = msgspec.to_builtins(value)
    return _given(plain) if isinstance(plain, dict) else plain


def _given(plain: dict[str, Any]) -> dict[str, Any]:
    # Schemas are the client's own and are left as they are: a null in them may mean something.
    whole = {"parameters", "schema"}
    return {
        name: _given(value) if isinstance(value, dict) and name not in whole else value
        for name, value in plain.items()
        if value is not None
    }


def text(content: Any, where: str, *, kinds: frozenset[str], param: str) -> str:
    """Return the text of a content: itself, or its parts' together; none for no content.

    where: names it in a refusal. kinds: the types of parts that are text.

    Raises:
        RequestRefused: A part is no text.
    """
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type not in kinds or part.text is None:
            raise RequestRefused(
                f"{where} has a part of type {part.type[:64]!r}; this model reads text alone.",
                param=param,
                code="unsupported_content",
            )
    return "".join(part.text or "" for part in content)
