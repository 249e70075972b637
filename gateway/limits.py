"""How much one tenant and one credential may ask: a minute, at once, and a day.

In this process and for one event loop; `budgets.py` keeps what was spent in a day, and
`replicas.py` tells other gateways of minutes. What a request may use is reserved before it runs,
and what it did use is charged when it ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.buckets import Bucket
from gateway.budgets import Budgets
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.replicas import Learned, Told


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a subject may ask; 0 means without a limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent_requests: int = 0
    tokens_per_day: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom an allowance binds. name: unique, `tenant:…` or `key:…`. called: for messages."""

    name: str
    called: str
    allowance: Allowance


@dataclass(slots=True)
class _State:
    """allowance: as it last was."""

    running: int = 0
    allowance: Allowance = Allowance()
    requests: Bucket | None = None
    tokens: Bucket | None = None

    def at_rest(self, now: float) -> bool:
        """Whether nothing runs and nothing is gone: as good as never seen."""
        rates = self.allowance.requests_per_minute, self.allowance.tokens_per_minute
        return not self.running and all(
            bucket is None or (not bucket.spent and bucket.full(per_minute=rate, now=now))
            for bucket, rate in zip((self.requests, self.tokens), rates, strict=True)
        )


@dataclass(slots=True)
class Reservation:
    """Tokens set aside for a request."""

    limits: "RequestLimits" = field(repr=False)
    subjects: Sequence[Subject]
    tokens: int
    settled: bool = False

    def settle(self, used: int) -> None:
        """Give back what was not used. Counts once."""
        if not self.settled:
            self.settled = True
            self.limits.charge(self.subjects, reserved=self.tokens, used=used)


class RequestLimits:
    """Admits requests. subjects: whom a principal's requests count for. clock: never goes back."""

    def __init__(
        self,
        *,
        subjects: Callable[[Principal], Sequence[Subject]],
        budgets: Budgets,
        clock: Callable[[], float],
    ) -> None:
        self._subjects = subjects
        self._budgets = budgets
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._elsewhere: Mapping[str, int] = {}

    @contextmanager
    def entered(self, principal: Principal) -> Iterator[Sequence[tuple[bytes, bytes]]]:
        """Count a request for as long as it runs; yield headers that tell what is left.

        Raises:
            RequestRefused: 429; too many at once, or in this minute. The request does not count.
        """
        subjects = self._subjects(principal)
        for subject in subjects:
            self._require_room(subject)
        for subject in subjects:
            state = self._state(subject)
            state.running += 1
            if state.requests:
                state.requests.take(1)
        try:
            yield self._headers(subjects)
        finally:
            for subject in subjects:
                self._leave(subject)

    @contextmanager
    def reserved(self, principal: Principal, *, tokens: int) -> Iterator[Reservation]:
        """Set tokens aside for a request; what it did not settle counts as used in full.

        Raises:
            RequestRefused: 429; the minute's or the day's tokens do not suffice. Nothing counts.
        """
        subjects = self._subjects(principal)
        for subject in subjects:
            self._require_tokens(subject, tokens)
        for subject in subjects:
            state = self._state(subject)
            if state.tokens:
                state.tokens.take(tokens)
            self._budgets.spend(subject.name, tokens)
        reservation = Reservation(self, subjects, tokens)
        try:
            yield reservation
        except BaseException:
            # Nothing that was refused or failed before it ran has used anything.
            reservation.settle(0)
            raise
        reservation.settle(tokens)

    def charge(self, subjects: Sequence[Subject], *, reserved: int, used: int) -> None:
        """Turn a reservation into what was used."""
        for subject in subjects:
            state = self._states.get(subject.name)
            if state is not None and state.tokens:
                state.tokens.take(used - reserved)
            self._budgets.spend(subject.name, used - reserved)

    def told(self) -> list[Told]:
        """Return what other gateways have not been told."""
        return [
            Told(
                name,
                0.0 if state.requests is None else state.requests.told(),
                0.0 if state.tokens is None else state.tokens.told(),
                state.allowance.requests_per_minute,
                state.allowance.tokens_per_minute,
                state.running,
            )
            for name, state in self._states.items()
            if state.allowance != Allowance()
        ]

    def learn(self, learned: Learned) -> None:
        """Go on by what all gateways together left, and forget subjects that are at rest."""
        now, self._elsewhere = self._clock(), learned.elsewhere
        for left in learned.left:
            state = self._states.get(left.subject)
            if state is None:
                continue
            if state.requests:
                state.requests.learn(left.requests, now)
            if state.tokens:
                state.tokens.learn(left.tokens, now)
        for name in [name for name, state in self._states.items() if state.at_rest(now)]:
            # Made anew, its buckets would be full as well.
            del self._states[name]

    def untold(self, told: Sequence[Told]) -> None:
        """Tell it the next time: this time nobody heard."""
        for each in told:
            state = self._states.get(each.subject)
            if state is not None and state.requests:
                state.requests.spent += each.requests
            if state is not None and state.tokens:
                state.tokens.spent += each.tokens

    def _require_room(self, subject: Subject) -> None:
        allowance, state = subject.allowance, self._state(subject)
        if allowance.concurrent_requests and (
            state.running + self._elsewhere.get(subject.name, 0) >= allowance.concurrent_requests
        ):
            raise _too_many(
                f"{subject.called} may have {allowance.concurrent_requests} requests at once.",
                wait_s=1.0,
            )
        if state.requests:
            rate = allowance.requests_per_minute
            wait_s = state.requests.wait_s(1, per_minute=rate, now=self._clock())
            if wait_s:
                raise _too_many(
                    f"{subject.called} may send {rate} requests a minute.", wait_s=wait_s
                )

    def _require_tokens(self, subject: Subject, tokens: int) -> None:
        allowance, state = subject.allowance, self._state(subject)
        left = allowance.tokens_per_day - self._budgets.spent(subject.name)
        if allowance.tokens_per_day and tokens > left:
            raise RequestRefused(
                f"{subject.called} has {max(0, left)} of {allowance.tokens_per_day} tokens left "
                f"today; this request may use {tokens}. The next day begins at 0:00 UTC.",
                status=429,
                kind="insufficient_quota",
                code="insufficient_quota",
                should_retry=False,
            )
        if not state.tokens:
            return
        rate = allowance.tokens_per_minute
        if tokens > rate:
            raise RequestRefused(
                f"{subject.called} may use {rate} tokens a minute; this request alone may use "
                f"{tokens}. Shorten the messages or max_tokens.",
                status=429,
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                should_retry=False,
            )
        wait_s = state.tokens.wait_s(tokens, per_minute=rate, now=self._clock())
        if wait_s:
            raise _too_many(f"{subject.called} may use {rate} tokens a minute.", wait_s=wait_s)

    def _state(self, subject: Subject) -> _State:
        state = self._states.get(subject.name)
        if state is None:
            state = self._states[subject.name] = _State()
        now, allowance = self._clock(), subject.allowance
        state.allowance = allowance
        # A policy that was reloaded may limit what it did not before, and the other way round.
        state.requests = _bucket(state.requests, allowance.requests_per_minute, now)
        state.tokens = _bucket(state.tokens, allowance.tokens_per_minute, now)
        return state

    def _leave(self, subject: Subject) -> None:
        """Count a request out; a subject at rest without a limit is forgotten."""
        state = self._states[subject.name]
        state.running -= 1
        if state.allowance == Allowance() and not state.running:
            del self._states[subject.name]

    def _headers(self, subjects: Sequence[Subject]) -> list[tuple[bytes, bytes]]:
        """Tell of the narrowest limit, by the names that OpenAI's clients read."""
        headers: list[tuple[bytes, bytes]] = []
        for kind in ("requests", "tokens"):
            known = []
            for subject in subjects:
                bucket = getattr(self._states[subject.name], kind)
                limit = getattr(subject.allowance, f"{kind}_per_minute")
                if bucket:
                    known.append((max(0, int(bucket.left)), limit))
            if known:
                left, limit = min(known)
                headers.append((f"x-ratelimit-limit-{kind}".encode(), str(limit).encode()))
                headers.append((f"x-ratelimit-remaining-{kind}".encode(), str(left).encode()))
        return headers


def _bucket(bucket: Bucket | None, per_minute: int, now: float) -> Bucket | None:
    if not per_minute:
        return None
    return bucket or Bucket(float(per_minute), now)


def _too_many(message: str, *, wait_s: float) -> RequestRefused:
    return RequestRefused(
        f"{message} Try again in {wait_s:.1f} s.",
        status=429,
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after_s=wait_s,
    )
