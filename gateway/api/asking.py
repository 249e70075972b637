"""From a checked request to the question that is put to a model: what every text route shares."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gateway.api.asgi import REQUEST_ID, RULING, Scope, header, source_ip
from gateway.api.sampling import Sampling
from gateway.catalogue import Catalogue, EmbeddingModel, RemoteModel, ServedModel
from gateway.conversation import Conversation
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.models.errors import ChatTemplateRefused
from gateway.policy import Ruling
from gateway.question import Labelling, Question
from gateway.routes import Routes, Routing
from gateway.settings import Settings
from privacy.identifiers import Finding, find

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
    recognise: Callable[[str], Sequence[Finding]] = find

    def question(
        self,
        asked: Asked,
        request: Sampling,
        conversation: Conversation,
        *,
        token_limit: int | None,
        grammar: str = "",
        likely: int | None = None,
        param: str = "messages",
    ) -> Question:
        """Return the question. param: the field that the conversation came in.

        Raises:
            RequestRefused: No model or tier may have it, none is free, it does not fit the model or
                this gateway's limits, or cannot be put under the pseudonyms that the policy wants.
        """
        ruling = _ruling(asked.scope)
        routing = self._routing(asked, request.model, conversation, token_limit)
        model = self.catalogue.model(request.model) if routing is None else routing.model
        _require_tier(ruling, routing)
        prompt = [] if isinstance(model, RemoteModel) else _encoded(conversation, model, param)
        return Question(
            request_id=asked.scope[REQUEST_ID],
            principal=asked.principal,
            model=model,
            operation=asked.operation,
            prompt=prompt,
            body=asked.body,
            choices=request.n or 1,
            max_tokens=self._token_limit(token_limit, model, len(prompt), param),
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=request.top_k or self.settings.top_k,
            stops=request.stops,
            seed=request.seed,
            source_ip=source_ip(asked.scope),
            shaping=request.shaping(),
            # What follows a text under a grammar would break it.
            labelling=Labelling() if grammar else _labelling(ruling, request.labelling()),
            grammar=grammar,
            likely=likely,
            pseudonym=_pseudonym(asked.scope),
            routing=routing,
            data_class=ruling.data_class,
            purpose=ruling.purpose,
            policy=ruling.entry(),
        )

    def _routing(
        self,
        asked: Asked,
        name: str,
        conversation: Conversation,
        token_limit: int | None,
    ) -> Routing | None:
        """Decide where a conversation goes; None where it goes to a model of the home by name."""
        if self.routes is None or name in self.catalogue.embedding:
            return None
        ruling = _ruling(asked.scope)
        routing = self.routes.route(
            tenant=asked.principal.tenant,
            data_class=ruling.data_class,
            tiers=frozenset(ruling.rule.tiers),
            marked=ruling.rule.marking == "required",
            agreed=ruling.agreed(today=datetime.now(UTC).date()),
            name=name,
            conversation=conversation,
            max_tokens=token_limit or self.settings.default_max_tokens,
        )
        return (
            None
            if routing is None
            else routing.disguised(redaction=ruling.rule.redaction, recognise=self.recognise)
        )

    def embedding(
        self, asked: Asked, *, model: EmbeddingModel, inputs: Sequence[list[int]]
    ) -> Question:
        """Return the question of texts to embed: nothing is drawn, and nothing leaves.

        Raises:
            RequestRefused: The policy keeps them from this machine's sandboxes.
        """
        ruling = _ruling(asked.scope)
        _require_tier(ruling, None)
        return Question(
            request_id=asked.scope[REQUEST_ID],
            principal=asked.principal,
            model=model,
            operation=asked.operation,
            prompt=[],
            body=asked.body,
            choices=1,
            max_tokens=0,
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            stops=(),
            seed=None,
            source_ip=source_ip(asked.scope),
            inputs=tuple(inputs),
            pseudonym=_pseudonym(asked.scope),
            data_class=ruling.data_class,
            purpose=ruling.purpose,
            policy=ruling.entry(),
        )

    def _token_limit(
        self, asked: int | None, model: ServedModel | RemoteModel, prompt_tokens: int, param: str
    ) -> int:
        """Return how many tokens a choice may have, or refuse a prompt that leaves no room."""
        room = model.context_length - prompt_tokens
        if room < 1 or (asked is not None and asked > room):
            wanted = prompt_tokens + (asked or 1)
            raise RequestRefused(
                f"This model's context is {model.context_length} tokens, and the request needs "
                f"{wanted} ({prompt_tokens} in the {param}). Shorten the {param} or max_tokens.",
                param=param,
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


def _encoded(conversation: Conversation, model: ServedModel, param: str) -> list[int]:
    try:
        return conversation.encoded(model)
    except ChatTemplateRefused as error:
        raise RequestRefused(str(error), param=param) from None


def _pseudonym(scope: Scope) -> str | None:
    """Return whom the request concerns, as its caller says."""
    given = header(scope, b"x-sealgate-pseudonym")
    if given is not None and not PSEUDONYM.fullmatch(given):
        raise RequestRefused(
            "x-sealgate-pseudonym is up to 128 letters, digits and any of `.`, `_`, `:`, `-`.",
            param="x-sealgate-pseudonym",
        )
    return given


def _ruling(scope: Scope) -> Ruling:
    ruling: Ruling = scope[RULING]
    return ruling


def _labelling(ruling: Ruling, asked: Labelling) -> Labelling:
    """Return what follows the text: what was asked for, and at least what the policy wants."""
    wanted = ruling.rule.label
    visible: Literal["en", "zh"] | None = None
    if wanted:
        visible = "en" if wanted is True else wanted
    return Labelling(asked.visible or visible, asked.manifest or ruling.rule.manifest)


def _require_tier(ruling: Ruling, routing: Routing | None) -> None:
    """Raise unless the policy lets the request go where it is to go.

    Raises:
        RequestRefused: 403 `policy_denied`.
    """
    local = routing is None or isinstance(routing.model, ServedModel)
    tier = "local" if local or routing is None else routing.tier
    if tier not in ruling.rule.tiers:
        raise RequestRefused(
            f"The policy's rule {ruling.rule.name!r} keeps this request from the tier {tier}.",
            status=403,
            kind="permission_error",
            code="policy_denied",
        )
    if routing is not None and not routing.marks and ruling.rule.marking == "required":
        raise RequestRefused(
            f"The policy's rule {ruling.rule.name!r} wants a mark, and the tier {tier} gives none.",
            status=403,
            kind="permission_error",
            code="policy_denied",
        )
