"""An answer as text, wherever it is generated: a sandbox here, or an endpoint of a remote tier.

What comes out is the same for both; only a sandbox's answer has tokens that this gateway knows. A
remote answer carries our mark where its server loads our processor, and is measured by its text.
"""

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from gateway.backends.base import Ask, Call, Complete, Text
from gateway.balancer import Endpoint, Routed
from gateway.catalogue import EmbeddingModel, RemoteModel, ServedModel
from gateway.likelihoods import likelihoods
from gateway.marking import endpoint_mark
from gateway.outgoing import Outgoing
from gateway.question import Question
from gateway.remote_reading import RemoteReading, Said
from gateway.routes import Routing
from sandbox.pool import Finished
from sandbox.readings import TokenBatch, Vector
from sandbox.wire import Inputs, Job

AnyModel = ServedModel | RemoteModel | EmbeddingModel
UNMARKED: Mapping[str, Any] = {"status": "unmarked", "marked": 0, "log_evidence": None}


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the answer comes from. route: the decision's explanation, None where none was made."""

    attestation: Mapping[str, Any]
    model: AnyModel
    tier: str
    route: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """The answer is whole. tokens: how many it has by a remote tier's account, None for ours.

    evidence: of its mark; None where the text itself has to be measured.
    """

    reason: str
    evidence: Mapping[str, Any] | None
    attestation: Mapping[str, Any]
    tokens: int | None = None


Spoken = Begun | Said | Whole


def spoken(question: Question, job: Job) -> AsyncGenerator[Spoken, None]:
    """Yield one choice's answer. Closing the iterator ends whatever generates it.

    Raises:
        RequestRefused: No sandbox or slot came free in time.
        SandboxError, UpstreamFailed: The answer is not whole.
    """
    if isinstance(question.model, EmbeddingModel):
        return _embedded(question.model, question)
    if question.routing is None:
        return _here(question.model, question, job)
    return _routed(question, question.routing, job)


async def _embedded(model: EmbeddingModel, question: Question) -> AsyncGenerator[Spoken, None]:
    """Embed in one of this machine's sandboxes; each piece is one vector, as its API writes it."""
    run = model.backend.embed(
        Inputs(list(question.inputs)),
        dimensions=model.dimensions,
        tenant=question.principal.tenant,
    )
    async with aclosing(run) as items:
        async for item in items:
            if isinstance(item, Vector):
                yield Said(base64.b64encode(item.values.tobytes()).decode())
            elif isinstance(item, Finished):
                yield Whole(item.reason, item.evidence, item.attestation, tokens=0)
            else:
                yield Begun(item.attestation, model, "local")


async def _routed(question: Question, routing: Routing, job: Job) -> AsyncGenerator[Spoken, None]:
    """Let the balancer carry the decision out, and tell what became of it."""
    model: AnyModel = question.model
    route: Mapping[str, Any] = {}
    tier = routing.tier

    def start(endpoint: Endpoint) -> AsyncGenerator[Spoken, None]:
        there = routing.models[endpoint.place.name]
        if isinstance(there, RemoteModel):
            return _there(there, question, routing, job)
        if there is question.model:
            return _here(there, question, job)
        prompt = routing.conversation.encoded(there)
        return _here(there, question, replace(job, prompt=prompt, eos=there.eos))

    run = routing.balancer.run(
        routing.wanted,
        routing.decision,
        start=start,
        visible=lambda item: not isinstance(item, Begun),
    )
    async with aclosing(run) as items:
        async for item in items:
            if isinstance(item, Routed):
                route, tier = routing.told(item), item.endpoint.place.tier
                model = routing.models[item.endpoint.place.name]
                yield Begun({}, model, tier, route)
            elif isinstance(item, Begun):
                yield replace(item, tier=tier, route=route)
            else:
                yield item


async def _here(
    model: ServedModel | RemoteModel, question: Question, job: Job
) -> AsyncGenerator[Spoken, None]:
    """Generate in one of this machine's sandboxes, and decode."""
    if isinstance(model, RemoteModel):
        raise TypeError("A remote model is not generated here.")
    decoder = model.tokenizer.decoder()
    async with aclosing(model.backend.generate(job, tenant=question.principal.tenant)) as run:
        async for item in run:
            if isinstance(item, TokenBatch):
                likely = tuple(likelihoods(item.likelihoods, model.tokenizer.token_bytes))
                yield Said(decoder.feed(item.tokens), item.tokens, likely)
            elif isinstance(item, Finished):
                if rest := decoder.finish():
                    yield Said(rest)
                yield Whole(item.reason, item.evidence, item.attestation)
            else:
                yield Begun(item.attestation, model, "local")


async def _there(
    model: RemoteModel, question: Question, routing: Routing, job: Job
) -> AsyncGenerator[Spoken, None]:
    """Have a remote endpoint generate from what may leave, and put back what was hidden."""
    if routing.outgoing is None:
        raise TypeError("Nothing of this request may leave this machine.")
    reading = RemoteReading(routing.outgoing)
    ask = _ask(question, routing.outgoing, job)
    evidence: Mapping[str, Any] | None = UNMARKED
    if model.tokenizer is not None:
        mark = endpoint_mark(job.mark_key, model.backend.name, job.trace_id)
        ask, evidence = replace(ask, mark=mark), None
    async with aclosing(model.backend.generate(ask)) as run:
        async for item in run:
            match item:
                case Text():
                    yield reading.text(item)
                case Call():
                    for said in reading.call(item):
                        yield said
                case Complete(reason, usage, attestation):
                    for said in reading.finish(complete=reason == "stop"):
                        yield said
                    yield Whole(reason, evidence, attestation, usage.completion_tokens)


def _ask(question: Question, outgoing: Outgoing, job: Job) -> Ask:
    return Ask(
        request_id=question.request_id,
        tenant=question.principal.tenant,
        turns=outgoing.turns,
        prompt=outgoing.text,
        max_tokens=job.max_tokens,
        temperature=job.temperature,
        top_p=job.top_p,
        top_k=job.top_k,
        stops=outgoing.stops(question.stops),
        seed=question.seed,
        options=outgoing.options,
    )
