"""`POST /v1/completions`: the older API, where a prompt is text and no chat template speaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from gateway.answer import Answer
from gateway.api import answered, sse
from gateway.api.asgi import Scope
from gateway.api.asking import Asked, Asking
from gateway.api.conversations import sampled
from gateway.api.decoding import decode
from gateway.api.sampling import Count, Sampling, Token, unserved
from gateway.catalogue import Catalogue, ServedModel
from gateway.conversation import Conversation
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.question import Ended, Piece, Question, TokenLikelihood

_encode = msgspec.json.encode
MOST_LIKELY = 5


class CompletionRequest(Sampling, frozen=True, kw_only=True):
    """A completion request. prompt: text, or a model's own token ids; one prompt a request."""

    prompt: str | list[str | Token | list[Token]]
    max_tokens: Count | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_LIKELY)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Count | None = None


_decoder = msgspec.json.Decoder(CompletionRequest)


@dataclass(frozen=True, slots=True)
class CompletionDialect:
    """Reads completion requests."""

    asking: Asking
    operation: str = "completions.create"

    def rendering(self, scope: Scope, principal: Principal, body: bytes) -> "CompletionRendering":
        """Read a request.

        Raises:
            RequestRefused: It cannot be served as it is.
        """
        request = decode(_decoder, body)
        if request.suffix:
            raise unserved("suffix")
        if (request.best_of or 1) > (request.n or 1):
            raise unserved("best_of", "above 'n' is not served here")
        if request.echo and request.logprobs is not None:
            raise unserved("echo", "with 'logprobs' is not served here")
        conversation = _conversation(request, self.asking.catalogue)
        question = self.asking.question(
            Asked(scope, principal, self.operation, body),
            request,
            conversation,
            token_limit=request.max_tokens,
            likely=request.logprobs,
            param="prompt",
        )
        echo = conversation.text if request.echo else None
        return CompletionRendering(question, request, echo=echo or "")


@dataclass(slots=True)
class CompletionRendering:
    """One completion in OpenAI's words. echo: the prompt's text, where it is to be repeated."""

    question: Question
    request: CompletionRequest
    echo: str
    _head: dict[str, Any] = field(default_factory=dict)
    _lengths: dict[int, int] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        """Whether the answer goes out as it comes."""
        return self.request.stream

    @property
    def receipt(self) -> bool:
        """Whether the answer comes with a receipt."""
        return self.request.receipt

    def whole(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return a complete answer's body."""
        choices = [
            self._choice(index, self.echo + text, finish_reason, answer.likelihoods(index), 0)
            for index, (text, finish_reason) in enumerate(answer.texts())
        ]
        body = {"choices": choices, "usage": answered.usage(answer)} | dict(extra)
        return _encode(_head(answer) | body)

    def begin(self, answer: Answer) -> bytes:
        """Return the events before the first piece: the prompt, where it is to be repeated."""
        self._head = _head(answer)
        if self.request.with_usage:
            self._head["usage"] = None
        if not self.echo:
            return b""
        return b"".join(
            self._chunk(index, self.echo, None, ()) for index in range(self.question.choices)
        )

    def piece(self, item: Piece | Ended) -> bytes:
        """Return the events of one piece."""
        if isinstance(item, Ended):
            return self._chunk(item.choice, "", item.finish_reason, ())
        return self._chunk(item.choice, item.text, None, item.likelihoods)

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece."""
        return answered.ending(self._head, answer, self.request, extra)

    def _chunk(
        self, index: int, text: str, reason: str | None, likely: Sequence[TokenLikelihood]
    ) -> bytes:
        offset = self._lengths.get(index, 0)
        self._lengths[index] = offset + len(text)
        choice = self._choice(index, text, reason, likely, offset)
        return sse.event(_encode(self._head | {"choices": [choice]}))

    def _choice(
        self,
        index: int,
        text: str,
        reason: str | None,
        likely: Sequence[TokenLikelihood],
        offset: int,
    ) -> dict[str, Any]:
        wanted = self.request.logprobs is not None
        return {
            "index": index,
            "text": text,
            "logprobs": _logprobs(likely, offset) if wanted else None,
            "finish_reason": reason,
        }


def _conversation(request: CompletionRequest, catalogue: Catalogue) -> Conversation:
    """Return the text to continue.

    Raises:
        RequestRefused: There are several prompts or none, or tokens that stand for no text.
    """
    options, features = sampled(request)
    if request.logprobs is not None:
        options |= {"logprobs": request.logprobs}
        features |= {"logprobs"}
    one, tokens = _one(request.prompt), None
    if not one:
        raise RequestRefused("The prompt is empty.", param="prompt")
    if not isinstance(one, str):
        # They are one model's own, so that model it must be.
        tokens, features = one, features | {"token_ids"}
        one = _decoded(tokens, catalogue.model(request.model))
    return Conversation(
        turns=[{"role": "user", "content": one}],
        text=one,
        tokens=tokens,
        options=options,
        features=features | {"completions"},
    )


def _one(given: str | Sequence[str | int | list[int]]) -> str | list[int]:
    """Return a request's only prompt: a list of bare numbers is one."""
    if isinstance(given, str):
        return given
    numbers = [each for each in given if isinstance(each, int)]
    if given and len(numbers) == len(given):
        return numbers
    if len(given) != 1 or numbers:
        raise RequestRefused(
            "Give one prompt a request: several would share one log entry.", param="prompt"
        )
    return next(each for each in given if not isinstance(each, int))


def _decoded(tokens: Sequence[int], model: ServedModel) -> str:
    """Return the text that tokens stand for. What looks like a control token in it is plain."""
    pieces = [model.tokenizer.token_bytes(token) for token in tokens]
    if not all(pieces):
        raise RequestRefused("A token of the prompt stands for no text.", param="prompt")
    return b"".join(pieces).decode(errors="replace")


def _head(answer: Answer) -> dict[str, Any]:
    return answered.head(answer, "text_completion", prefix="cmpl")


def _logprobs(likelihoods: Sequence[TokenLikelihood], offset: int) -> dict[str, Any]:
    tokens = [each.token.decode(errors="replace") for each in likelihoods]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    tops = [{top.decode(errors="replace"): p for top, p in each.top} for each in likelihoods]
    return {
        "tokens": tokens,
        "token_logprobs": [each.logprob for each in likelihoods],
        "top_logprobs": tops,
        "text_offset": offsets,
    }
