"""What of a request leaves this machine for a remote tier, and what its answer gets back.

Made before an intent is recorded and anything is sent: text that cannot be put under pseudonyms
makes its request a refused one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.conversation import Conversation
from gateway.errors import RequestRefused
from privacy.deidentify import Pseudonyms, PseudonymsFailed, Restorer
from privacy.identifiers import Finding, find

# What `detections` of an intent says counted; a new set of recognisers is a new name.
DETECTOR = "rules-2"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """turns, text, options: as they are sent. pseudonyms: None where the policy wants none."""

    turns: Sequence[Mapping[str, Any]] = field(repr=False)
    text: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    pseudonyms: Pseudonyms | None = field(default=None, repr=False)

    def stops(self, stops: tuple[str, ...]) -> tuple[str, ...]:
        """Return the stop strings that are sent.

        Under pseudonyms none is: one may hold an identifier, or cut a pseudonym in two. The
        gateway cuts the restored text itself.
        """
        return stops if self.pseudonyms is None else ()

    def restorer(self) -> Restorer | None:
        """Return what gives one choice's text its values back, None where nothing was hidden."""
        return None if self.pseudonyms is None else self.pseudonyms.restorer()

    def json_restorer(self) -> Restorer | None:
        """Return what gives one call's arguments, which are JSON, their values back."""
        return None if self.pseudonyms is None else self.pseudonyms.json_restorer()

    def detections(self) -> dict[str, Any]:
        """Return what was hidden, for the intent: counts by kind, and no measured recall."""
        if self.pseudonyms is None:
            return {}
        counts = self.pseudonyms.counts
        return {"detections": {"detector": DETECTOR, "recall_milli": None, "counts": counts}}


def outgoing(
    conversation: Conversation,
    *,
    redaction: str,
    recognise: Callable[[str], Sequence[Finding]] = find,
) -> Outgoing:
    """Return what a remote tier gets of a conversation. redaction: `pseudonyms`, or `none`.

    recognise: finds what is hidden.

    Raises:
        RequestRefused: 500 `redaction_failed`, nothing may be sent; 400, likelihoods were asked
            for, and those of hidden values would be told as well.
    """
    if redaction == "none":
        return Outgoing(conversation.sent, conversation.text, conversation.options)
    pseudonyms = Pseudonyms(recognise)
    try:
        # Twice: what a later text announces is hidden in the earlier ones as well.
        for _ in range(2):
            hidden = _hidden(conversation, pseudonyms)
    except PseudonymsFailed:
        raise RequestRefused(
            "The text could not be put under pseudonyms, so it was not sent to a remote tier. "
            "Name a model of this gateway's own.",
            status=500,
            kind="server_error",
            code="redaction_failed",
        ) from None
    if pseudonyms.count and "logprobs" in conversation.features:
        raise RequestRefused(
            "'logprobs' cannot be told of a text that leaves under pseudonyms. Send the request "
            "without it, or name a model of this gateway's own.",
            param="logprobs",
            code="unsupported_parameter",
        )
    return hidden


def _hidden(conversation: Conversation, pseudonyms: Pseudonyms) -> Outgoing:
    text = conversation.text
    options = dict(conversation.options)
    if "tools" in options:
        options["tools"] = [_tool(tool, pseudonyms) for tool in options["tools"]]
    if "json_schema" in options.get("response_format", {}):
        form = options["response_format"]
        named = form["json_schema"]
        schema = pseudonyms.hide_json(named["schema"])
        options["response_format"] = {**form, "json_schema": {**named, "schema": schema}}
    return Outgoing(
        [_turn(turn, pseudonyms) for turn in conversation.sent],
        None if text is None else pseudonyms.hide(text),
        options,
        pseudonyms,
    )


def _turn(turn: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
    hidden = dict(turn)
    if turn.get("content"):
        hidden["content"] = pseudonyms.hide(turn["content"])
    if "tool_calls" in turn:
        hidden["tool_calls"] = [_call(call, pseudonyms) for call in turn["tool_calls"]]
    return hidden


def _call(call: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
    function = call["function"]
    return {
        **call,
        "function": {**function, "arguments": _arguments(function["arguments"], pseudonyms)},
    }


def _arguments(text: str, pseudonyms: Pseudonyms) -> str:
    """Hide what stands in the values of a call's arguments; what is no JSON is a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return pseudonyms.hide(text)
    return json.dumps(pseudonyms.hide_json(value), ensure_ascii=False)


def _tool(tool: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
    """Hide what stands in a tool's description and schema; its name is what a call is known by."""
    function = dict(tool["function"])
    if function.get("description"):
        function["description"] = pseudonyms.hide(function["description"])
    if "parameters" in function:
        function["parameters"] = pseudonyms.hide_json(function["parameters"])
    return {**tool, "function": function}
