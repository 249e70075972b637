"""A serving gateway's life: lock, keys, log, sandboxes up in this order, and down in reverse.

Whatever is missing stops the start with its own error; nothing is ever served half open.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from audit.sequencer import Sequencer
from audit.store import existing_log
from gateway import logbook, serving
from gateway.anchoring import Trust, anchors, held_against, kept_anchored
from gateway.answer import Answers
from gateway.budgets import Budgets
from gateway.catalogue import Catalogue
from gateway.console.desk import desk, permissions
from gateway.custody import Secret
from gateway.doorkeeper import Doorkeeper
from gateway.draining import Standing
from gateway.errors import HomeUnusable, ModelMissing
from gateway.fingerprints import Fingerprints
from gateway.home import Home, existing
from gateway.identity import Credentials
from gateway.keeping import contents, kept_content
from gateway.keybroker import running as key_broker
from gateway.keycare import KeyCare
from gateway.labelling import Labeller
from gateway.limits import RequestLimits
from gateway.metrics import Metrics
from gateway.parts import Gateway
from gateway.peppers import Peppers
from gateway.policy import PolicyInForce, load
from gateway.receipts import issue
from gateway.recorder import Recorder
from gateway.replicas import Replicas
from gateway.reports import Workshop, kept
from gateway.requestkeys import RequestKeys
from gateway.settings import Settings
from gateway.spans import spans
from gateway.throttle import Throttle
from gateway.tracer import Tracer
from gateway.tracing import Languages, finder
from gateway.turns import once_a_turn
from gateway.upkeep import exchanged, flushed, measured, rolled_up
from gateway.upstream import routes
from privacy import keystore
from privacy.broker import BrokerClient
from sandbox.probe import Wall, probe, require

if TYPE_CHECKING:
    from gateway.tokens import Tokens

# So many waits and generations no request outlasts, whatever its choices wait for.
LONGEST_REQUESTS = 10


@asynccontextmanager
async def running(settings: Settings, secret: Secret) -> AsyncIterator[Gateway]:
    """Start every part of a gateway over the settings' home, and stop them on leaving.

    Raises:
        SandboxUnavailable: This kernel lacks a wall.
        HomeMissing, HomeUnusable, ModelMissing: The home is not ready.
        PrivacyError: The keyring or a sealed model does not open.
        audit.errors.AuditError: The log cannot be written or does not verify.
    """
    walls = probe()
    require(walls)
    home = existing(settings.home)
    if not home.model_ids():
        raise ModelMissing(
            "The home holds no sealed model. Run `sealgate models fetch smollm2-135m` or "
            "`sealgate models import FILE.gguf`."
        )
    async with AsyncExitStack() as stack:
        stack.enter_context(_only_gateway(home))
        keys = stack.enter_context(key_broker(home, secret, *permissions(settings)))
        engine = existing_log(settings.log_location)
        stack.callback(engine.dispose)
        sequencer = _sequencer(engine, settings, keys)
        stack.callback(sequencer.close)
        sequencer.start()
        await _settled(stack, engine, sequencer, settings, keys)
        metrics, policy = Metrics(), PolicyInForce(settings.policy_file)
        recorder = Recorder(
            sequencer, acknowledgement_s=settings.acknowledgement_s, metrics=metrics
        )
        catalogue = await serving.catalogue(home, settings, keys, stack)
        tiers = await stack.enter_async_context(routes(settings, catalogue.models, keys))
        version = once_a_turn(keystore.watch(home.keyring))
        credentials = Credentials(engine, peppers=Peppers(keys, stamp=version))
        fingerprints = Fingerprints(engine, keys)
        await _note(recorder, "gateway.start", _circumstances(settings, catalogue, walls))
        stack.push_async_callback(_note, recorder, "gateway.stop", {})
        keeper = await stack.enter_async_context(kept_content(settings, engine, keys, sequencer))
        budgets = Budgets(engine, now=lambda: datetime.now(UTC))
        stack.callback(budgets.flush)
        await stack.enter_async_context(flushed(budgets, fingerprints))
        await stack.enter_async_context(rolled_up(engine))
        await stack.enter_async_context(measured(settings, metrics, sequencer, catalogue))
        standing = Standing(home.path)
        shop = Workshop(settings, home, engine, keys, catalogue, recorder)
        tracing = await stack.enter_async_context(spans(settings))
        limits = RequestLimits(subjects=policy.subjects, budgets=budgets, clock=time.monotonic)
        replicas = Replicas(engine) if settings.database_url else None
        languages = Languages(catalogue, tiers)
        tracer = Tracer(finder(engine, languages, keys, credentials, fingerprints))
        stack.callback(tracer.close)
        await stack.enter_async_context(exchanged(limits, replicas))
        yield Gateway(
            settings=settings,
            catalogue=catalogue,
            routes=tiers,
            doorkeeper=Doorkeeper(credentials, recorder, _throttle(settings), _tokens(settings)),
            recorder=recorder,
            answers=Answers(
                recorder,
                RequestKeys(keys, stamp=version),
                fingerprints,
                Labeller(keys, origin=settings.origin),
                keeper,
            ),
            limits=limits,
            policy=policy,
            metrics=metrics,
            log=engine,
            trace=tracer,
            receipt=_receipts(engine, keys, settings),
            reports=await stack.enter_async_context(kept(shop)),
            contents=contents(engine, keys),
            checks=lambda: _checks(sequencer, catalogue, standing),
            spans=tracing,
            desk=desk(settings, engine, KeyCare(keys, recorder, credentials, engine)),
        )


@contextmanager
def _only_gateway(home: Home) -> Iterator[None]:
    """Hold the home's lock: a second gateway's start would close the first one's open intents."""
    descriptor = os.open(home.path / "serving.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HomeUnusable(
            f"Another gateway serves {home.path}. Stop it first, or choose another --home."
        ) from None
    finally:
        os.close(descriptor)


def _sequencer(engine: sa.Engine, settings: Settings, keys: BrokerClient) -> Sequencer:
    return Sequencer(
        engine,
        origin=settings.origin,
        public_key=keys.public_key("checkpoint"),
        sign=lambda message: keys.sign("checkpoint", message),
        public_keys=lambda: keys.public_keys("checkpoint"),
    )


async def _settled(
    stack: AsyncExitStack,
    engine: sa.Engine,
    sequencer: Sequencer,
    settings: Settings,
    keys: BrokerClient,
) -> None:
    """Hold the log against its anchors, close what nobody answers any more, keep it anchored."""
    places = anchors(settings)
    key, *earlier = keys.public_keys("checkpoint")
    await asyncio.to_thread(held_against, engine, places, Trust(settings.origin, key, earlier))
    # Over a database others may be answering; over a file of our own, nobody is.
    longest_s = LONGEST_REQUESTS * (settings.queue_s + settings.deadline_s)
    sequencer.recover(older_than_s=longest_s if settings.database_url else None)
    await stack.enter_async_context(kept_anchored(engine, settings, places, sequencer.submit))


def _throttle(settings: Settings) -> Throttle:
    return Throttle(most=settings.wrong_keys_per_minute, window_s=60.0, clock=time.monotonic)


def _tokens(settings: Settings) -> "Tokens | None":
    if settings.oidc_issuer is None:
        return None
    from gateway.tokens import Issuer, Tokens  # noqa: PLC0415 - only with an issuer.

    return Tokens(
        Issuer(
            settings.oidc_issuer,
            settings.oidc_audience,
            settings.oidc_tenant_claim,
            settings.oidc_role_claim,
        )
    )


def _receipts(engine: sa.Engine, keys: BrokerClient, settings: Settings) -> Callable[[str], str]:
    def make(request_id: str) -> str:
        now_s = int(time.time())
        return issue(request_id, log=engine, keys=keys, origin=settings.origin, now_s=now_s)

    return make


async def _note(recorder: Recorder, operation: str, detail: Mapping[str, Any]) -> None:
    uid = f"sys_{secrets.token_hex(12)}"
    await recorder.record(logbook.system(operation, uid=uid, now=datetime.now(UTC), detail=detail))


def _circumstances(
    settings: Settings, catalogue: Catalogue, walls: Sequence[Wall]
) -> dict[str, Any]:
    """Tell how this gateway runs, for the entry of its start."""
    policy = load(settings.policy_file)
    return {
        "policy": policy.digest,
        "agreements": [each.entry() for each in policy.file.baa],
        "tls": settings.tls_certificate is not None,
        "host": settings.host,
        "models": sorted(catalogue.all),
        "sandbox": {wall.name: wall.found for wall in walls},
    }


def _checks(sequencer: Sequencer, catalogue: Catalogue, standing: Standing) -> dict[str, bool]:
    return {
        "in service": not standing.order.replica,
        "log": sequencer.writable,
        **{f"model {m.model_id}": m.backend.able for m in catalogue.all.values()},
    }
