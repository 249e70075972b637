"""The entries that the gateway writes, one builder a phase. Pure: no clock, no log, no chance.

An entry holds no prompt, no answer, no key and no floating-point number: canonical JSON
(RFC 8785) renders floats by a rule that other languages get wrong, so numbers with a fraction
are integers of thousandths, or strings.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway import ocsf
from gateway.choice_ends import ChoiceEnd
from gateway.identity import Principal
from gateway.marking import SCHEME
from gateway.ocsf import Actor, Event
from gateway.question import Question
from gateway.speaking import Begun
from sandbox.wire import Shaping

# The tenant of what concerns the deployment and no tenant of it.
SYSTEM_TENANT = "system"


def intent(
    question: Question, *, epoch: int, trace_ids: Sequence[int], prompt_hmac: str, now: datetime
) -> Event:
    """Build what is on disk before a model runs."""
    return ocsf.entry(
        uid=f"{question.request_id}/intent",
        request_id=question.request_id,
        actor=user(question.principal),
        tenant=question.principal.tenant,
        operation=question.operation,
        status=200,
        source_ip=question.source_ip,
        now=now,
        own={
            "phase": "intent",
            "model": _model(question),
            "tier": question.tier,
            "purpose": question.purpose,
            "data_class": question.data_class,
            **({} if question.policy is None else {"policy": dict(question.policy)}),
            "prompt_hmac": prompt_hmac,
            "prompt_tokens": question.prompt_tokens,
            "sampling": {
                "temperature_milli": round(question.temperature * 1000),
                "top_p_milli": round(question.top_p * 1000),
                "top_k": question.top_k,
                "max_tokens": question.max_tokens,
                "n": question.choices,
                "seeded": question.seed is not None,
                **_shaping(question.shaping),
            },
            "watermark": {"scheme": SCHEME, "epoch": epoch, "trace_ids": list(trace_ids)},
            **_concerning(question.pseudonym),
            **question.detections,
        },
    )


def outcome(
    question: Question,
    *,
    epoch: int,
    choices: Sequence[ChoiceEnd],
    ending: str,
    status: int,
    latency_ms: int,
    now: datetime,
    commitment_epoch: int | None = None,
    served: Begun | None = None,
    acknowledgement_ms: int | None = None,
) -> Event:
    """Build what is on disk before the answer's last byte leaves.

    ending: `completed`, `client_gone`, `failed` or `shutdown`. commitment_epoch: of the key that
    the choices' commitments are salted with; None if they have none. served: who answered, where
    that was not settled by the request itself. acknowledgement_ms: what the intent waited for.
    """
    return ocsf.entry(
        uid=f"{question.request_id}/outcome",
        request_id=question.request_id,
        actor=user(question.principal),
        tenant=question.principal.tenant,
        operation=question.operation,
        status=status,
        source_ip=question.source_ip,
        now=now,
        own={
            "phase": "outcome",
            "ending": ending,
            "latency_ms": latency_ms,
            "prompt_tokens": question.prompt_tokens,
            "completion_tokens": sum(choice.tokens for choice in choices),
            "model": _model(question, served),
            "tier": question.tier if served is None else served.tier,
            **({"route": dict(served.route)} if served is not None and served.route else {}),
            **_recipient(question, served),
            **({} if ending != "completed" else {"label": question.labelling.entry()}),
            **({} if acknowledgement_ms is None else {"acknowledgement_ms": acknowledgement_ms}),
            "watermark": {"scheme": SCHEME, "epoch": epoch},
            "choices": [choice.entry() for choice in choices],
            "commitment_epoch": commitment_epoch,
        },
    )


def denied(
    *,
    request_id: str,
    principal: Principal | None,
    operation: str,
    status: int,
    reason: str,
    source_ip: str | None,
    now: datetime,
) -> Event:
    """Build the entry of a request that got no answer. reason: the envelope's `code`."""
    return ocsf.entry(
        uid=f"{request_id}/denied",
        request_id=request_id,
        actor=user(principal) if principal else ocsf.ANONYMOUS,
        tenant=principal.tenant if principal else SYSTEM_TENANT,
        operation=operation,
        status=status,
        source_ip=source_ip,
        now=now,
        own={"phase": "denied", "reason": reason},
    )


def access(
    operation: str,
    *,
    request_id: str,
    actor: Actor,
    tenant: str,
    detail: Mapping[str, Any],
    source_ip: str | None,
    now: datetime,
    pseudonym: str | None = None,
) -> Event:
    """Build the entry of someone who asked the system about others, or told of a disclosure."""
    return ocsf.entry(
        uid=f"{request_id}/access",
        request_id=request_id,
        actor=actor,
        tenant=tenant,
        operation=operation,
        status=200,
        source_ip=source_ip,
        now=now,
        own={"phase": "access", "detail": dict(detail)} | _concerning(pseudonym),
    )


def verification(
    *,
    request_id: str,
    principal: Principal,
    verdict: str,
    traced_request: str | None,
    p_value: float,
    source_ip: str | None,
    now: datetime,
) -> Event:
    """Build the entry of a text that a principal had traced; the text is not in it."""
    return access(
        "provenance.verify",
        request_id=request_id,
        actor=user(principal),
        tenant=principal.tenant,
        detail=traced(verdict=verdict, traced_request=traced_request, p_value=p_value),
        source_ip=source_ip,
        now=now,
    )


def traced(*, verdict: str, traced_request: str | None, p_value: float) -> Event:
    """Build the detail of a trace, whoever asked for it."""
    return {"verdict": verdict, "traced_request": traced_request, "p_value": f"{p_value:.3g}"}


def system(
    operation: str,
    *,
    uid: str,
    now: datetime,
    actor: Actor = ocsf.SYSTEM,
    detail: Mapping[str, Any] | None = None,
) -> Event:
    """Build the entry of what the deployment did, or its operator to it. uid: its request's too."""
    return ocsf.entry(
        uid=uid,
        request_id=uid,
        actor=actor,
        tenant=SYSTEM_TENANT,
        operation=operation,
        status=200,
        source_ip=None,
        now=now,
        own={"phase": "system", "detail": dict(detail or {})},
    )


def killed(question: Question, choice: int, error: str, *, now: datetime) -> Event:
    """Build the entry of a sandbox that ended before its answer did. error: its name."""
    return system(
        "sandbox.killed",
        uid=f"{question.request_id}/killed/{choice}",
        now=now,
        detail={"request": question.request_id, "choice": choice, "error": error},
    )


def user(principal: Principal) -> Actor:
    """Name a principal as the actor of an entry."""
    return {"uid": principal.credential_id, "name": principal.name, "type": principal.role.value}


def _model(question: Question, served: Begun | None = None) -> Event:
    model = question.model if served is None else served.model
    named = {"id": model.model_id, "digest": model.digest, "generation": model.generation}
    certificate = model.training_certificate
    return named if certificate is None else named | {"training_certificate": certificate}


def _concerning(pseudonym: str | None) -> Event:
    return {} if pseudonym is None else {"pseudonym": pseudonym}


def _recipient(question: Question, served: Begun | None) -> Event:
    """Name who got the request, where that was not this machine (45 CFR 164.528(b)(2)(ii))."""
    if (question.tier if served is None else served.tier) == "local":
        return {}
    route = (served.route if served else None) or {}
    return {"recipient": str(route.get("endpoint") or _model(question, served)["digest"])}


def _shaping(shaping: Shaping) -> Event:
    """Return what bent the prediction, only what did: most requests bend nothing."""
    numbers = {
        "min_p_milli": (shaping.min_p, 0.0),
        "repetition_penalty_milli": (shaping.repetition_penalty, 1.0),
        "frequency_penalty_milli": (shaping.frequency_penalty, 0.0),
        "presence_penalty_milli": (shaping.presence_penalty, 0.0),
    }
    told = {name: round(given * 1000) for name, (given, idle) in numbers.items() if given != idle}
    return told | ({"biased_tokens": len(shaping.logit_bias)} if shaping.logit_bias else {})
