"""The form an answer is asked for: free text, JSON, JSON of a schema, or a call of a tool.

Pure: from a request's fields to the grammar that the worker holds the answer to, in llguidance's
JSON form. The grammar itself is checked where it is used, inside the sandbox.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from gateway.errors import RequestRefused

# White space between JSON's tokens is what a small model loses itself in.
_RIGID = {"x-guidance": {"whitespace_flexible": False}}
# What already says which further properties there can be, whatever it says.
_SAYS = frozenset({"additionalProperties", "unevaluatedProperties"})
# What may say it elsewhere, unless it is empty.
_MAY_SAY = frozenset({"patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if"})
# Anything that is not the beginning of a call.
_FREE = r"/[^{](?s:.)*/"
_INTRODUCTION = (
    "You can call these functions. To call one, answer with nothing but JSON of the form "
    '{"name": ..., "arguments": {...}}.'
)

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]


class JsonSchema(msgspec.Struct, frozen=True):
    """A named schema. strict says nothing here: every schema is enforced whole, or refused."""

    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """The form of the whole answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Function(msgspec.Struct, frozen=True):
    """A tool's function. parameters: a JSON schema of its arguments."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class Named(msgspec.Struct, frozen=True):
    """The name of a function."""

    name: str


class ChosenTool(msgspec.Struct, frozen=True):
    """The one tool that must be called."""

    type: Literal["function"]
    function: Named


class Called(msgspec.Struct, frozen=True):
    """A call of a function. arguments: JSON text, as the model wrote it."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct, frozen=True):
    """A call that an earlier answer held."""

    function: Called
    id: str = ""
    type: str = "function"

    def written(self) -> str:
        """Return the call as the model writes one."""
        return f'{{"name":{json.dumps(self.function.name)},"arguments":{self.function.arguments}}}'


ToolChoice = Literal["none", "auto", "required"] | ChosenTool


def format_grammar(asked: ResponseFormat | None) -> str:
    """Return the grammar of an answer's form; empty for free text.

    Raises:
        RequestRefused: A schema was announced and none given.
    """
    if asked is None or asked.type == "text":
        return ""
    if asked.type == "json_object":
        return _of_schema({"type": "object"})
    if asked.json_schema is None or asked.json_schema.schema is None:
        raise RequestRefused(
            "'response_format' of type 'json_schema' needs 'json_schema': {'name', 'schema'}.",
            param="response_format",
        )
    return _of_schema(asked.json_schema.schema)


def tool_grammar(tools: Sequence[Tool], choice: ToolChoice | None) -> str:
    """Return the grammar of an answer that may or must be a call; empty if it cannot be one.

    Raises:
        RequestRefused: The tool that must be called is not among the tools.
    """
    if not tools or choice == "none":
        return ""
    callable_tools = list(tools)
    if isinstance(choice, ChosenTool):
        callable_tools = [t for t in tools if t.function.name == choice.function.name]
        if not callable_tools:
            raise RequestRefused(
                f"'tool_choice' names {choice.function.name!r}, which is not in 'tools'.",
                param="tool_choice",
            )
    calls = {"anyOf": [_call(tool.function) for tool in callable_tools]}
    if choice is None or choice == "auto":
        lark = f"start: {_FREE} | call\ncall: %json {json.dumps(calls | _RIGID)}\n"
        return json.dumps({"grammars": [{"lark_grammar": lark}]})
    return _of_schema(calls)


def introduction(tools: Sequence[Tool]) -> str:
    """Tell the model what it can call, in words: its template need not know of tools."""
    told = [msgspec.to_builtins(tool.function) for tool in tools]
    return "\n".join([_INTRODUCTION, *(json.dumps(each, ensure_ascii=False) for each in told)])


def with_introduction(
    turns: Sequence[Mapping[str, str]], tools: Sequence[Tool]
) -> list[dict[str, str]]:
    """Return the turns with the tools told in the first system turn, which is made if absent."""
    first, rest = {"role": "system", "content": ""}, list(turns)
    if rest and rest[0]["role"] == "system":
        first, rest = dict(rest[0]), rest[1:]
    content = "\n\n".join(filter(None, (first["content"], introduction(tools))))
    return [{"role": "system", "content": content}, *(dict(turn) for turn in rest)]


def _call(function: Function) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function.name},
            "arguments": _closed(function.parameters or {"type": "object"}),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _of_schema(schema: Mapping[str, Any]) -> str:
    return json.dumps({"grammars": [{"json_schema": _closed(schema) | _RIGID}]})


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that lets an answer hold only what it names, where it leaves that open.

    Whatever follows it follows the given one too; a small model fills what is open without end.
    """
    said = _SAYS.intersection(schema) or any(schema[key] for key in _MAY_SAY.intersection(schema))
    named = "properties" in schema
    return dict(schema) | ({"additionalProperties": False} if named and not said else {})
