"""The keys of requests: a tenant's are kept, each request's own are asked for in one call.

Kept keys are in this process's memory alone, for tenants that asked lately, and are forgotten the
moment the keyring's file is another one: a rotation or a destruction holds from the next request.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway import fingerprints
from gateway.marking import PURPOSE, key_context, seed_context
from gateway.receipts import AUDIT_PURPOSE, receipt_context

# Tenants whose keys are kept; who asked least recently goes first.
TENANTS = 1024

Stamp = Callable[[], Hashable]


class Broker(Protocol):
    """What the keys come from."""

    def active_epoch(self, purpose: str) -> int:
        """Return the epoch that new keys of a purpose belong to."""

    def derive_each(
        self, purpose: str, contexts: Sequence[Sequence[bytes]], epoch: int | None
    ) -> list[bytes]:
        """Derive a key for each context."""


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """A tenant's in the active epochs. epoch: of marks. audit_epoch: of digests and receipts."""

    epoch: int
    audit_epoch: int
    mark_key: bytes = field(repr=False)
    seed_key: bytes = field(repr=False)
    audit_key: bytes = field(repr=False)
    fingerprint_key: bytes = field(repr=False)


class RequestKeys:
    """Derives what requests need. For one event loop.

    stamp: identifies the keyring's state, of which the broker's answers are a function.
    """

    def __init__(self, keys: Broker, *, stamp: Stamp) -> None:
        self._keys = keys
        self._stamp = stamp
        self._known_at: Hashable = None
        self._known: OrderedDict[str, TenantKeys] = OrderedDict()
        self._asked: list[tuple[int, Sequence[bytes], asyncio.Future[bytes]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def tenant(self, tenant: str) -> TenantKeys:
        """Return a tenant's keys.

        Raises:
            PrivacyError: The keys cannot be used.
        """
        stamp = self._stamp()
        if stamp != self._known_at:
            self._known.clear()
            self._known_at = stamp
        known = self._known.get(tenant)
        if known is None:
            known = await asyncio.to_thread(self._derived, tenant)
            # What was derived while the file was replaced belongs to nobody's state.
            if self._known_at == stamp == self._stamp():
                self._known[tenant] = known
        else:
            self._known.move_to_end(tenant)
        if len(self._known) > TENANTS:
            self._known.popitem(last=False)
        return known

    def receipt(self, tenant: str, request_id: str, *, epoch: int) -> "asyncio.Future[bytes]":
        """Return what will be the key that a request's commitments are salted with.

        It may raise PrivacyError. One call to the broker answers all who asked meanwhile.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        # Whoever asked may be gone by then: nobody is told of an error that nobody waits for.
        future.add_done_callback(lambda told: told.cancelled() or told.exception())
        self._asked.append((epoch, receipt_context(tenant, request_id), future))
        if self._asking is None:
            self._asking = asyncio.create_task(self._answer())
        return future

    async def _answer(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                for epoch in {epoch for epoch, _, _ in asked}:
                    await self._answer_epoch(epoch, [ask for ask in asked if ask[0] == epoch])
        finally:
            self._asking = None

    async def _answer_epoch(
        self, epoch: int, asked: Sequence[tuple[int, Sequence[bytes], "asyncio.Future[bytes]"]]
    ) -> None:
        contexts = [context for _, context, _ in asked]
        try:
            each = await asyncio.to_thread(self._keys.derive_each, AUDIT_PURPOSE, contexts, epoch)
        except BaseException as error:
            for _, _, future in asked:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else _ended())
            if not isinstance(error, Exception):
                raise
            return
        for (_, _, future), key in zip(asked, each, strict=True):
            if not future.done():
                future.set_result(key)

    def _derived(self, tenant: str) -> TenantKeys:
        epoch, name = self._keys.active_epoch(PURPOSE), tenant.encode()
        audit_epoch = self._keys.active_epoch(AUDIT_PURPOSE)
        contexts = [key_context(tenant, epoch), seed_context(tenant, epoch)]
        mark, seed = self._keys.derive_each(PURPOSE, contexts, epoch)
        audit, fingerprint = self._keys.derive_each(
            AUDIT_PURPOSE, [(name,), fingerprints.context(tenant)], audit_epoch
        )
        return TenantKeys(epoch, audit_epoch, mark, seed, audit, fingerprint)


def _ended() -> RuntimeError:
    return RuntimeError("The gateway ended while keys were derived.")
