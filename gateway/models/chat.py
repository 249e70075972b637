"""Chat templates: the model's own Jinja, rendered so that no message can speak with its voice.

A message's content takes part in the rendering as an unguessable stand-in, and enters the tokens
as plain text. Control tokens therefore come from the template alone, whatever a message says.
What this does not do: judge whether the template itself is a good one.
"""

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.models.errors import ChatTemplateRefused
from gateway.models.tokenizer import Tokenizer

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
# Templates loop over messages and little else; these stop one that was made to hang a gateway.
SOURCE_LIMIT_CHARACTERS = 1 << 18
STEPS_LIMIT = 100_000
RENDER_LIMIT_S = 2.0
# What a template may add to the messages, in characters.
ADDED_LIMIT_CHARACTERS = 1 << 20
REASON_LIMIT_CHARACTERS = 200

# None of these makes much out of little, as `center` or `replace` can.
FILTERS = frozenset(
    {"capitalize", "count", "d", "default", "dictsort", "first", "int", "items", "join", "last"}
    | {"length", "list", "lower", "map", "reject", "rejectattr", "reverse", "select", "selectattr"}
    | {"sort", "string", "title", "trim", "unique", "upper"}
)


class ChatTemplate:
    """A model's chat template."""

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._template = _compile(source)

    def encode_chat(self, turns: Sequence[Mapping[str, Any]]) -> list[int]:
        """Encode a conversation up to where the assistant begins to answer.

        turns: `role` and `content`, both strings, oldest first.

        Raises:
            ChatTemplateRefused: The template does not take these turns, or would alter a content.
        """
        for turn in turns:
            _require_plain(turn)
        # Rendering once with the contents and once with stand-ins shows whether the template
        # treats them alike; only then do the stand-ins' places tell where the contents go.
        stand_ins = _StandIns([turn["content"] for turn in turns])
        masked = [
            {"role": turn["role"], "content": stand_in}
            for turn, stand_in in zip(turns, stand_ins.masked, strict=True)
        ]
        pieces = list(stand_ins.pieces(self._render(masked)))
        plain = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
        if "".join(piece.text for piece in pieces) != self._render(plain):
            raise ChatTemplateRefused(
                "This model's chat template rewrites the content of these messages. Send them as "
                "plain text."
            )
        return self._encode(pieces)

    def _render(self, messages: list[dict[str, str]]) -> str:
        budget = _Budget(limit=ADDED_LIMIT_CHARACTERS + sum(len(m["content"]) for m in messages))
        try:
            parts = self._template.generate(
                messages=messages,
                add_generation_prompt=True,
                bos_token=self._tokenizer.bos,
                eos_token=self._tokenizer.eos,
                tools=None,
                raise_exception=_refuse,
                **{TICK: budget.tick},
            )
            return "".join(budget.counted(parts))
        except ChatTemplateRefused:
            raise
        except Exception as error:  # noqa: BLE001 - a template can fail in any way Python can
            raise ChatTemplateRefused(
                f"This model's chat template failed on these messages ({type(error).__name__})."
            ) from None

    def _encode(self, pieces: Sequence["_Piece"]) -> list[int]:
        """Encode runs of text between control tokens whole, as they would be in one text."""
        ids: list[int] = []
        run = ""
        for piece in pieces:
            parts = [piece.text] if piece.content else self._tokenizer.split_control(piece.text)
            for part in parts:
                if isinstance(part, int):
                    ids += [*self._tokenizer.encode(run), part]
                    run = ""
                else:
                    run += part
        return ids + self._tokenizer.encode(run)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the prompt: from a message's content, or the template's own."""

    text: str
    content: bool


class _StandIns:
    """Contents, and what stands in for them while the template is rendered.

    White space at a content's ends stays outside the stand-in, so that a template that trims its
    messages trims it too; an empty content stays empty, since templates ask for that.
    """

    def __init__(self, contents: Sequence[str]) -> None:
        # 128 random bits: no message can contain it. Digits, which no filter on case changes.
        self._mark = f"{secrets.randbits(128):039d}"
        self._cores = [content.strip() for content in contents]
        self.masked = [
            content.replace(core, f"{self._mark}{index:08d}", 1) if core else content
            for index, (content, core) in enumerate(zip(contents, self._cores, strict=True))
        ]

    def pieces(self, rendered: str) -> Iterator[_Piece]:
        """Cut a rendering at the stand-ins and put the contents back."""
        parts = re.split(f"{self._mark}([0-9]{{8}})", rendered)
        for order, part in enumerate(parts):
            content = order % 2 == 1
            yield _Piece(self._cores[int(part)] if content else part, content)


def _require_plain(turn: Mapping[str, Any]) -> None:
    if turn.get("role") not in ROLES:
        raise ChatTemplateRefused(f"A message's role must be one of {', '.join(sorted(ROLES))}.")
    if not isinstance(turn.get("content"), str):
        raise ChatTemplateRefused("A message's content must be a string.")


TICK = "_tick"


@dataclass(slots=True)
class _Budget:
    """What one rendering may use up. limit: characters of output."""

    limit: int
    steps: int = 0
    deadline_s: float = field(default_factory=lambda: time.monotonic() + RENDER_LIMIT_S)

    def tick(self) -> str:
        """Count one turn of a loop or one call of a macro; put nothing into the output."""
        self.steps += 1
        if self.steps > STEPS_LIMIT or time.monotonic() > self.deadline_s:
            raise ChatTemplateRefused("This model's chat template runs too long on these messages.")
        return ""

    def counted(self, parts: Iterator[str]) -> Iterator[str]:
        """Pass the output through as long as it stays within its limit."""
        written = 0
        for part in parts:
            written += len(part)
            if written > self.limit:
                raise ChatTemplateRefused("This model's chat template writes too much.")
            yield part


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that also refuses to multiply strings and to raise to powers."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not all(isinstance(side, int | float) for side in (left, right)):
            raise ChatTemplateRefused(f"This model's chat template uses {operator!r} on text.")
        return super().call_binop(context, operator, left, right)


def _compile(source: str) -> jinja2.Template:
    """Compile a template with a tick at the head of each loop and macro.

    Raises:
        ChatTemplateRefused: It is no template, or uses a filter that is not offered.
    """
    if len(source) > SOURCE_LIMIT_CHARACTERS:
        raise ChatTemplateRefused("The model's chat template is too long.")
    environment = _environment()
    try:
        tree = environment.parse(source)
        for loop in tree.find_all(nodes.For):
            loop.body.insert(0, _tick())
        for macro in tree.find_all(nodes.Macro):
            macro.body.insert(0, _tick())
        return environment.from_string(tree)
    except (jinja2.TemplateError, RecursionError) as error:
        raise ChatTemplateRefused(f"The model's chat template does not compile: {error}.") from None


def _environment() -> _Environment:
    """Set Jinja up as model publishers expect it, which is as Hugging Face's library does."""
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    offered = {name: rule for name, rule in environment.filters.items() if name in FILTERS}
    # Prompts are no HTML: nothing is escaped, so nothing needs to be declared safe from it.
    environment.filters = offered | {"tojson": _to_json, "safe": str}
    return environment


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _tick() -> nodes.Output:
    call = nodes.Call(nodes.Name(TICK, "load"), [], [], None, None)
    return nodes.Output([call], lineno=1)


def _refuse(message: object) -> NoReturn:
    """Stand behind `raise_exception`, by which templates refuse a conversation."""
    reason = " ".join(str(message).split())[:REASON_LIMIT_CHARACTERS]
    raise ChatTemplateRefused(f"This model's chat template refuses these messages: {reason}")
