import json

import pytest
from llguidance import LLMatcher, LLTokenizer

from gateway.api.formats import (
    ChosenTool,
    Function,
    JsonSchema,
    Named,
    ResponseFormat,
    Tool,
    format_grammar,
    tool_grammar,
    with_introduction,
)
from gateway.api.toolcalls import CallReader
from gateway.errors import RequestRefused

OPEN = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [Tool("function", Function("one", "First.", OPEN)), Tool("function", Function("two"))]


def schema(grammar):
    return json.loads(grammar)["grammars"][0]["json_schema"]


def test_free_text_has_no_grammar():
    assert format_grammar(None) == format_grammar(ResponseFormat("text")) == ""
    assert tool_grammar([], "required") == tool_grammar(TOOLS, "none") == ""


def test_object_that_names_its_properties_gets_no_others():
    asked = ResponseFormat("json_schema", JsonSchema("x", OPEN))
    assert schema(format_grammar(asked))["additionalProperties"] is False
    for more in (
        {"additionalProperties": True},
        {"additionalProperties": {}},
        {"allOf": [{}]},
        {"$ref": "#/x"},
        {"patternProperties": {"^x": {}}},
    ):
        asked = ResponseFormat("json_schema", JsonSchema("x", OPEN | more))
        assert schema(format_grammar(asked)).get("additionalProperties", True) is not False


@pytest.mark.parametrize("empty", [{"patternProperties": {}}, {"allOf": []}])
def test_keyword_that_says_nothing_opens_no_object(empty):
    asked = ResponseFormat("json_schema", JsonSchema("x", OPEN | empty, strict=True))
    matcher = LLMatcher(LLTokenizer("byte"), format_grammar(asked))
    assert matcher.get_error() == ""
    within, beyond = b'{"a":1}', b'{"a":1,"b"'
    assert matcher.validate_tokens(list(within)) == len(within)
    assert matcher.validate_tokens(list(beyond)) < len(beyond)


def test_schema_that_is_announced_must_be_there():
    with pytest.raises(RequestRefused):
        format_grammar(ResponseFormat("json_schema"))


def test_chosen_tool_is_the_only_one():
    grammar = schema(tool_grammar(TOOLS, ChosenTool("function", Named("two"))))
    (call,) = grammar["anyOf"]
    assert call["properties"]["name"] == {"const": "two"}
    with pytest.raises(RequestRefused):
        tool_grammar(TOOLS, ChosenTool("function", Named("three")))


def test_tools_are_told_in_the_first_system_turn():
    told = with_introduction([{"role": "user", "content": "Hi."}], TOOLS)
    assert [turn["role"] for turn in told] == ["system", "user"]
    assert '"name": "one"' in told[0]["content"]
    kept = with_introduction([{"role": "system", "content": "Be brief."}], TOOLS)
    assert len(kept) == 1
    assert kept[0]["content"].startswith("Be brief.\n\n")


CALL = '{"name":"one","arguments":{"a":{"b":"}"}}}'


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_call_is_read_wherever_its_text_is_cut(size):
    reader = CallReader()
    told = [reader.feed(CALL[i : i + size]) for i in range(0, len(CALL), size)]
    told.append(reader.finish(complete=True))
    assert [each.call for each in told if each.call] == ["one"]
    assert "".join(each.arguments for each in told) == '{"a":{"b":"}"}}'
    assert "".join(each.text for each in told) == ""


def test_call_that_was_cut_short_keeps_what_there_is():
    reader = CallReader()
    told = [reader.feed(CALL[:-4]), reader.finish(complete=False)]
    assert "".join(each.arguments for each in told) == '{"a":{"b":"}'


@pytest.mark.parametrize("text", ["Hello.", '{"nam', '{"other":1}', "", "{"])
def test_what_is_no_call_stays_text(text):
    reader = CallReader()
    told = [*(reader.feed(character) for character in text), reader.finish(complete=True)]
    assert "".join(each.text for each in told) == text
    assert not reader.called
