"""Routing at the gateway: from a chat request to the endpoint that a decision chose for it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.backends.base import Load
from gateway.balancer import Balancer, Endpoint, Loaded, Routed
from gateway.breakers import Breaker
from gateway.catalogue import RemoteModel, ServedModel
from gateway.conversation import Conversation
from gateway.draining import Standing
from gateway.grading import CHARACTERS_A_TOKEN, Grade, grade
from gateway.outgoing import Outgoing, outgoing
from gateway.router import AUTO, TIERS, Candidate, Decision, Wanted, barred
from gateway.slots import FairSlots
from gateway.tiers import Tiers
from privacy.identifiers import Finding, find

# More than any tier's tokeniser makes of a turn's frame.
TURN_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Routing:
    """One request's way: what it wants, what was decided, and who carries it out.

    conversation: for this machine alone. outgoing: what a remote tier gets; None sends nothing.
    """

    wanted: Wanted
    decision: Decision
    balancer: Balancer
    models: Mapping[str, ServedModel | RemoteModel]
    grade: Grade
    conversation: Conversation = field(repr=False)
    outgoing: Outgoing | None = None

    def disguised(
        self, *, redaction: str, recognise: Callable[[str], Sequence[Finding]] = find
    ) -> "Routing":
        """Return it with what leaves this machine, if any of its ways, now or later, leads out.

        redaction, recognise: as in `gateway.outgoing`.

        Raises:
            RequestRefused: 500 `redaction_failed`.
        """
        ways = (each.place for each in self.balancer.endpoints.values())
        remote = (place for place in ways if isinstance(self.models[place.name], RemoteModel))
        if all(barred(self.wanted, place) for place in remote):
            return self
        out = outgoing(self.conversation, redaction=redaction, recognise=recognise)
        return replace(self, outgoing=out)

    @property
    def model(self) -> ServedModel | RemoteModel:
        """The model of the endpoint that was chosen first."""
        return self.models[self.decision.endpoint]

    @property
    def marks(self) -> bool:
        """Whether that endpoint's answers carry our mark."""
        return self.balancer.endpoints[self.decision.endpoint].place.marks

    @property
    def tier(self) -> str:
        """Its tier."""
        return self.balancer.endpoints[self.decision.endpoint].place.tier

    def told(self, routed: Routed) -> dict[str, Any]:
        """Explain what became of the decision, for the entry: strings and integers."""
        return {
            "pin": self.wanted.pin,
            "grade": self.grade.score,
            "task": self.grade.task,
            "hedged": routed.hedged,
            "failed": [{"endpoint": name, "reason": reason} for name, reason in routed.failed],
            **routed.decision.entry(),
        }


@dataclass(frozen=True, slots=True)
class Routes:
    """All endpoints of a gateway. Without remotes, a named local model is never routed."""

    balancer: Balancer
    models: Mapping[str, ServedModel | RemoteModel]
    tiers: Tiers
    catalogue: Mapping[str, ServedModel]

    def route(
        self,
        *,
        tenant: str,
        data_class: str,
        name: str,
        conversation: Conversation,
        max_tokens: int,
        tiers: frozenset[str] | None = None,
        marked: bool = False,
        agreed: frozenset[str] | None = frozenset(),
    ) -> Routing | None:
        """Decide where a request goes; None for a local model that it names itself.

        tiers, marked, agreed: as in `Wanted`.

        Raises:
            RequestRefused: Nowhere, and why.
        """
        if name in self.catalogue:
            endpoint = self.balancer.endpoints[f"local/{name}"]
            if data_class in endpoint.place.classes and not endpoint.draining():
                return None
        turns = conversation.turns
        graded = grade(turns, max_tokens=max_tokens, weights=self.tiers.weights)
        characters = sum(len(turn["content"]) for turn in turns)
        prompt_tokens = characters // CHARACTERS_A_TOKEN + TURN_TOKENS * len(turns)
        wanted = Wanted(
            tenant,
            data_class,
            name,
            graded.score,
            prompt_tokens,
            max_tokens,
            tiers,
            marked,
            agreed,
            conversation.features,
        )
        decision = self.balancer.decide(wanted)
        return Routing(wanted, decision, self.balancer, self.models, graded, conversation)

    @property
    def names(self) -> list[str]:
        """What a request may name beside the home's own models."""
        remote = [m.model_id for m in self.models.values() if isinstance(m, RemoteModel)]
        tiers = {endpoint.place.tier for endpoint in self.balancer.endpoints.values()}
        return [*dict.fromkeys(remote), AUTO, *(tier for tier in TIERS if tier in tiers)]


class _Own:
    """A local endpoint's load: its slots say all there is."""

    load = Load(age_s=0.0)


def local_endpoint(
    model: ServedModel,
    tiers: Tiers,
    *,
    slots: int,
    output_limit: int,
    waiting_limit: int,
    standing: Standing,
) -> Endpoint:
    """Return one of the home's models as an endpoint."""
    place = tiers.local_place(
        model.model_id,
        context_length=model.context_length,
        output_limit=output_limit,
        slots=slots,
    )
    line = FairSlots(slots, waiting_limit=waiting_limit)
    return _endpoint(place, _Own(), line, standing)


def remote_endpoint(
    model: RemoteModel, place: Candidate, *, waiting_limit: int, standing: Standing
) -> Endpoint:
    """Return a remote endpoint."""
    line = FairSlots(place.slots, waiting_limit=waiting_limit)
    return _endpoint(place, model.backend, line, standing)


def _endpoint(place: Candidate, backend: Loaded, line: FairSlots, standing: Standing) -> Endpoint:
    return Endpoint(
        place, backend, Breaker(time.monotonic), line, lambda: standing.order.covers(place)
    )
