"""From a checked request to the question that is put to a model: what every text route shares."""

import re
from dataclasses import dataclass

from gateway.api.asgi import REQUEST_ID, Scope, header, source_ip
from gateway.api.sampling import Sampling
from gateway.catalogue import Catalogue, RemoteModel, ServedModel
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.question import Question
from gateway.routes import Routes, Routing, data_class
from gateway.settings import Settings

# As docs/formats/event-v1.md fixes it: a random name from the deployment's own mapping.
PSEUDONYM = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks what, where. body: the bytes the client sent."""

    scope: Scope
    principal: Principal
    operation: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Asking:
    """Makes questions."""

    settings: Settings
    catalogue: Catalogue
    routes: Routes | None = None

    def routing(
        self,
        scope: Scope,
        principal: Principal,
        name: str,
        turns: list[dict[str, str]],
        token_limit: int | None,
    ) -> Routing | None:
        """Decide where a conversation goes; None where it goes to a model of the home by name.

        Raises:
            RequestRefused: No tier may have it, or none is free.
        """
        if self.routes is None:
            return None
        return self.routes.route(
            tenant=principal.tenant,
            data_class=data_class(header(scope, b"x-sealgate-data-class")),
            name=name,
            turns=turns,
            max_tokens=token_limit or self.settings.default_max_tokens,
        )

    def question(
        self,
        asked: Asked,
        request: Sampling,
        *,
        model: ServedModel | RemoteModel,
        prompt: list[int],
        token_limit: int | None,
        routing: Routing | None = None,
        grammar: str = "",
        likely: int | None = None,
    ) -> Question:
        """Return the question.

        Raises:
            RequestRefused: Prompt and answer do not fit the model, or this gateway's limits.
        """
        return Question(
            request_id=asked.scope[REQUEST_ID],
            principal=asked.principal,
            model=model,
            operation=asked.operation,
            prompt=prompt,
            body=asked.body,
            choices=request.n or 1,
            max_tokens=self._token_limit(token_limit, model, len(prompt)),
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=request.top_k or self.settings.top_k,
            stops=request.stops,
            seed=request.seed,
            source_ip=source_ip(asked.scope),
            shaping=request.shaping(),
            grammar=grammar,
            likely=likely,
            pseudonym=_pseudonym(asked.scope),
            routing=routing,
            data_class=data_class(header(asked.scope, b"x-sealgate-data-class")),
        )

    def _token_limit(
        self, asked: int | None, model: ServedModel | RemoteModel, prompt_tokens: int
    ) -> int:
        """Return how many tokens a choice may have, or refuse a prompt that leaves no room."""
        room = model.context_length - prompt_tokens
        if room < 1 or (asked is not None and asked > room):
            wanted = prompt_tokens + (asked or 1)
            raise RequestRefused(
                f"This model's context is {model.context_length} tokens, and the request needs "
                f"{wanted} ({prompt_tokens} in the messages). Shorten the messages or max_tokens.",
                param="messages",
                code="context_length_exceeded",
            )
        if asked is not None and asked > self.settings.output_limit_tokens:
            raise RequestRefused(
                f"max_tokens is over this gateway's limit of {self.settings.output_limit_tokens}.",
                param="max_tokens",
                code="max_tokens_exceeded",
            )
        limit = self.settings.default_max_tokens if asked is None else asked
        return min(limit, room)


def _pseudonym(scope: Scope) -> str | None:
    """Return whom the request concerns, as its caller says."""
    given = header(scope, b"x-sealgate-pseudonym")
    if given is not None and not PSEUDONYM.fullmatch(given):
        raise RequestRefused(
            "x-sealgate-pseudonym is up to 128 letters, digits and any of `.`, `_`, `:`, `-`.",
            param="x-sealgate-pseudonym",
        )
    return given
