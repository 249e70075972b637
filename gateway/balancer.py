"""Endpoints at work: slots, breakers, one more try where it is allowed, a hedge where it pays.

`router.choose` decides; this carries the decision out and never looks beyond what that returns.
An answer is tried again, or hedged, only before its first text, only within budgets, and a hedge
only within the trust boundary of the first endpoint.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from gateway import router
from gateway.backends.base import Load
from gateway.breakers import Breaker, Budget
from gateway.errors import RequestRefused, UpstreamFailed
from gateway.router import Candidate, Decision, Thresholds, Wanted
from gateway.slots import FairSlots
from sandbox.errors import SandboxError

T = TypeVar("T")
RETRY_SHARE = 0.10
HEDGE_SHARE = 0.02
# A first token that takes this many times its usual time is worth a hedge.
HEDGE_FACTOR = 3.0
FAILURES = (UpstreamFailed, SandboxError)
# The request's own fault: tried nowhere else, and held against no endpoint.
BLAMELESS = frozenset({"rejected", "forbidden"})


class Loaded(Protocol):
    """Something whose load is known."""

    @property
    def load(self) -> Load:
        """How busy it is."""


@dataclass(slots=True)
class Endpoint:
    """One endpoint: what it is, and what became of it so far. draining: whether it is to rest."""

    place: Candidate
    backend: Loaded
    breaker: Breaker
    slots: FairSlots
    draining: Callable[[], bool] = lambda: False

    def candidate(self) -> Candidate:
        """Return it as it stands now."""
        load = self.backend.load
        waiting = max(load.waiting, self.slots.waiting)
        return replace(
            self.place,
            load=replace(load, waiting=waiting, running=max(load.running, self.slots.busy)),
            open=self.breaker.open,
            draining=self.draining(),
        )


@dataclass(frozen=True, slots=True)
class Routed:
    """An endpoint answers. decision: the last one. failed: endpoints that failed before it."""

    endpoint: Endpoint
    decision: Decision
    failed: tuple[tuple[str, str], ...] = ()
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """queue_s: longest wait for a slot. hedge_s: least wait before a hedge."""

    queue_s: float = 30.0
    hedge_s: float = 0.5


@dataclass(slots=True)
class _Attempt(Generic[T]):
    """One endpoint's run at an answer, up to its first text."""

    endpoint: Endpoint
    run: AsyncGenerator[T, None]
    items: list[T] = field(default_factory=list)
    ended: bool = False


class Balancer:
    """All endpoints of a gateway, for one event loop.

    draw: a random whole number below its argument.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        draw: Callable[[int], int],
        thresholds: Thresholds | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.endpoints: Mapping[str, Endpoint] = {e.place.name: e for e in endpoints}
        self.thresholds = thresholds or Thresholds()
        self._patience = patience or Patience()
        self._draw = draw
        self._retries = Budget(RETRY_SHARE)
        self._hedges = Budget(HEDGE_SHARE, reserve=0.0)

    def decide(self, wanted: Wanted, *, tried: frozenset[str] = frozenset()) -> Decision:
        """Decide over the endpoints as they stand; raises as `router.choose`."""
        return router.choose(
            wanted,
            [endpoint.candidate() for endpoint in self.endpoints.values()],
            thresholds=self.thresholds,
            draw=self._draw,
            tried=tried,
        )

    async def run(
        self,
        wanted: Wanted,
        decision: Decision,
        *,
        start: Callable[[Endpoint], AsyncGenerator[T, None]],
        visible: Callable[[T], bool],
    ) -> AsyncGenerator[Routed | T, None]:
        """Yield who answers, then the answer. Closing the iterator ends whatever runs.

        start: begins the answer at an endpoint. visible: whether an item reaches the client, so
        that nobody else may answer after it.

        Raises:
            UpstreamFailed, SandboxError: No endpoint that may answer did.
            RequestRefused: 503, no slot came free in time.
        """
        self._retries.request()
        self._hedges.request()
        failed: list[tuple[str, str]] = []
        while True:
            try:
                attempt, hedged = await self._first(wanted, decision, start, visible)
            except FAILURES as error:
                failed.append((decision.endpoint, _reason(error)))
                decision = self._again(wanted, error, failed)
                continue
            break
        try:
            async with aclosing(attempt.run) as run:
                yield Routed(attempt.endpoint, decision, tuple(failed), hedged)
                for item in attempt.items:
                    yield item
                if not attempt.ended:
                    async for item in run:
                        yield item
        except FAILURES as error:
            _blame(attempt.endpoint, error)
            raise
        except BaseException:
            attempt.endpoint.breaker.abandoned()
            raise
        attempt.endpoint.breaker.succeeded()

    def _again(self, wanted: Wanted, error: Exception, failed: list[tuple[str, str]]) -> Decision:
        """Decide once more without what failed, or let the failure stand."""
        if _reason(error) in BLAMELESS or not self._retries.take():
            raise error
        try:
            return self.decide(wanted, tried=frozenset(name for name, _ in failed))
        except RequestRefused:
            raise error from None

    async def _first(
        self,
        wanted: Wanted,
        decision: Decision,
        start: Callable[[Endpoint], AsyncGenerator[T, None]],
        visible: Callable[[T], bool],
    ) -> tuple[_Attempt[T], bool]:
        """Run the chosen endpoint to its first text, with a hedge beside it where one is due."""
        main = self.endpoints[decision.endpoint]
        if not self._spares(decision, main):
            # Nothing could be run beside it: no task, and nothing to wait for but the answer.
            return await self._led(wanted, main, start, visible), False
        tasks = {asyncio.create_task(self._led(wanted, main, start, visible))}
        try:
            await asyncio.wait(tasks, timeout=self._hedge_after_s(main))
            spare = self._hedge(decision, main) if not any(t.done() for t in tasks) else None
            if spare is not None:
                tasks.add(asyncio.create_task(self._led(wanted, spare, start, visible)))
            return await _earliest(tasks), spare is not None
        finally:
            await _end(tasks)

    async def _led(
        self,
        wanted: Wanted,
        endpoint: Endpoint,
        start: Callable[[Endpoint], AsyncGenerator[T, None]],
        visible: Callable[[T], bool],
    ) -> _Attempt[T]:
        """Run one endpoint up to its first text; its failure is held against it."""
        endpoint.breaker.begin()
        attempt = _Attempt(endpoint, self._slotted(wanted, endpoint, start))
        try:
            async for item in attempt.run:
                attempt.items.append(item)
                if visible(item):
                    return attempt
        except BaseException as error:
            if isinstance(error, FAILURES):
                _blame(endpoint, error)
            else:
                endpoint.breaker.abandoned()
            await attempt.run.aclose()
            raise
        attempt.ended = True
        return attempt

    async def _slotted(
        self,
        wanted: Wanted,
        endpoint: Endpoint,
        start: Callable[[Endpoint], AsyncGenerator[T, None]],
    ) -> AsyncGenerator[T, None]:
        """Hold one of the endpoint's slots for as long as the answer takes."""
        async with (
            endpoint.slots.held(wanted.tenant, limit_s=self._patience.queue_s),
            aclosing(start(endpoint)) as run,
        ):
            async for item in run:
                yield item

    def _hedge_after_s(self, endpoint: Endpoint) -> float:
        usual = endpoint.backend.load.ewma_ttft_s or router.PRIOR_TTFT_S[endpoint.place.tier]
        return max(self._patience.hedge_s, HEDGE_FACTOR * usual)

    def _hedge(self, decision: Decision, main: Endpoint) -> Endpoint | None:
        """Return the best spare within the same boundary, if the budget has one left."""
        for spare in self._spares(decision, main):
            if not spare.breaker.open:
                return spare if self._hedges.take() else None
        return None

    def _spares(self, decision: Decision, main: Endpoint) -> list[Endpoint]:
        spares = [self.endpoints[name] for name in decision.spares]
        return [spare for spare in spares if spare.place.boundary == main.place.boundary]


async def _earliest(tasks: "set[asyncio.Task[_Attempt[T]]]") -> _Attempt[T]:
    """Return the first attempt that succeeds; raise the last failure if none does."""
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                # Kept: what is ended below is what the others began.
                tasks.discard(task)
                return task.result()
        if not pending:
            return next(iter(done)).result()


async def _end(tasks: "set[asyncio.Task[_Attempt[T]]]") -> None:
    """Call off what is still running, and close what came too late."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, _Attempt):
            outcome.endpoint.breaker.abandoned()
            await outcome.run.aclose()


def _blame(endpoint: Endpoint, error: BaseException) -> None:
    if _reason(error) in BLAMELESS:
        endpoint.breaker.abandoned()
    else:
        endpoint.breaker.failed()


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, UpstreamFailed) else "sandbox"
