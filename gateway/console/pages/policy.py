"""The policy in force, and “why was this refused?”: of a request, or of one that might come."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from audit.search import Query, search
from gateway.console.visit import Visit
from gateway.errors import RequestRefused
from gateway.explaining import Step, steps
from gateway.identity import TENANT_PATTERN, Role
from gateway.policy import CLASSES, PURPOSES, Policy, Rule

OPERATION = "policy.explain"
_REQUEST_LIMIT = 128
_FIELDS = frozenset({"request", "data_class", "purpose", "role", "tenant"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the log says of a request that was refused, or was not."""

    request: str
    reason: str | None
    status: str
    operation: str
    time_ms: int
    actor: str
    role: str
    tenant: str
    policy: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A request that might come, and what the policy makes of it."""

    data_class: str
    purpose: str
    role: str
    tenant: str
    steps: tuple[Step, ...]
    rule: Rule | None


async def show(visit: Visit) -> Response:
    """Show the rules, and explain what was asked about; a question is an entry."""
    given = {
        name: value.strip()
        for name, value in visit.request.query_params.items()
        if name in _FIELDS and value.strip()
    }
    policy = visit.gateway.policy.current
    refusal, problem = None, None
    request = given.get("request")
    if request is not None:
        refusal = await _refusal(visit, request)
        problem = None if refusal else "unknown"
    case = _case(policy, given) if "data_class" in given else None
    await visit.record(OPERATION, {"asked": {k: v[:_REQUEST_LIMIT] for k, v in given.items()}})
    return visit.page(
        "policy.html",
        policy=policy,
        refusal=refusal,
        problem=problem,
        request_asked=request or "",
        case=case,
        asked=given,
        classes=CLASSES,
        purposes=PURPOSES,
        roles=[role.value for role in Role],
    )


async def _refusal(visit: Visit, request: str) -> Refusal | None:
    if len(request) > _REQUEST_LIMIT or "\x00" in request:
        return None
    query = Query(request_id=request, limit=10)
    found = await asyncio.to_thread(search, visit.gateway.log, query)
    if not found.entries:
        return None
    events = [event for _, event in found.entries]
    denied = [event for event in events if event["sealgate"]["phase"] == "denied"]
    event = (denied or events)[-1]
    own, user = event["sealgate"], event["actor"]["user"]
    return Refusal(
        request=request,
        reason=str(own["reason"]) if denied else None,
        status=str(event.get("status_code", "")),
        operation=str(event["api"]["operation"]),
        time_ms=int(event["time"]),
        actor=str(user.get("name", "")),
        role=str(user.get("type", "")),
        tenant=str(event["metadata"]["tenant_uid"]),
        policy=own.get("policy") or {},
    )


def _case(policy: Policy, given: Mapping[str, str]) -> Case:
    """Explain a request of these words.

    Raises:
        RequestRefused: One of them is none.
    """
    data_class, purpose = given["data_class"], given.get("purpose", "unspecified")
    role, tenant = given.get("role", Role.CLIENT.value), given.get("tenant", "example")
    known = data_class in CLASSES and purpose in PURPOSES and role in set(Role)
    if not known or not TENANT_PATTERN.fullmatch(tenant):
        raise RequestRefused("The form holds a word that means nothing.", code="invalid_form")
    found = policy.first(data_class, purpose, Role(role), tenant)
    told = steps(policy, data_class=data_class, purpose=purpose, role=role, tenant=tenant)
    return Case(data_class, purpose, role, tenant, tuple(told), found)
