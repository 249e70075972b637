"""Remote tiers' life in a gateway: connections up, loads asked for every second, all closed."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.backends.remote import RemoteBackend
from gateway.backends.transport import Transport
from gateway.balancer import Balancer, Endpoint, Patience
from gateway.catalogue import RemoteModel, ServedModel
from gateway.draining import Standing
from gateway.errors import SettingsInvalid
from gateway.router import AUTO
from gateway.routes import Routes, local_endpoint, remote_endpoint
from gateway.settings import Settings
from gateway.tiers import TUNED, RemoteTable, Tiers, load
from privacy.broker import BrokerClient

# Half of what makes a load stale.
PROBE_EVERY_S = 1.0
SALT_PURPOSE = "cache-salt"

_log = logging.getLogger("sealgate")


@asynccontextmanager
async def routes(
    settings: Settings, models: Mapping[str, ServedModel], keys: BrokerClient
) -> AsyncIterator[Routes]:
    """Bring up every endpoint of the tiers' file, and close them on leaving.

    Raises:
        SettingsInvalid: The file, a certificate or a token cannot be used.
    """
    tiers = load(settings.tiers_file, tuned=settings.home / TUNED)
    for data_class in tiers.orphans():
        _log.warning("No tier may receive the data class %s: its requests get 403.", data_class)
    async with AsyncExitStack() as stack:
        remotes = {table.name: await _remote(table, keys, stack) for table in tiers.remote}
        taken = [m.model_id for m in remotes.values() if m.model_id in models or m.model_id == AUTO]
        if taken:
            raise SettingsInvalid(f"{settings.tiers_file}: {taken[0]!r} is a model of the home.")
        balancer = Balancer(
            _endpoints(settings, tiers, models, remotes),
            draw=random.SystemRandom().randrange,
            thresholds=tiers.routing.thresholds,
            patience=Patience(queue_s=settings.queue_s),
        )
        task = asyncio.create_task(_watch([m.backend for m in remotes.values()]))
        stack.push_async_callback(_ended, task)
        local = {f"local/{model_id}": model for model_id, model in models.items()}
        yield Routes(balancer, {**local, **remotes}, tiers, models)


def _endpoints(
    settings: Settings,
    tiers: Tiers,
    models: Mapping[str, ServedModel],
    remotes: Mapping[str, RemoteModel],
) -> list[Endpoint]:
    """Return every place that can answer: the home's models, then the remote ones."""
    standing = Standing(settings.home)
    local = (
        local_endpoint(
            model,
            tiers,
            slots=settings.concurrency,
            output_limit=settings.output_limit_tokens,
            waiting_limit=settings.queue_limit,
            standing=standing,
        )
        for model in models.values()
    )
    remote = (
        remote_endpoint(
            remotes[table.name],
            table.place(),
            waiting_limit=settings.queue_limit,
            standing=standing,
        )
        for table in tiers.remote
    )
    return [*local, *remote]


async def _remote(table: RemoteTable, keys: BrokerClient, stack: AsyncExitStack) -> RemoteModel:
    remote = table.remote()
    transport = Transport(
        table.origin,
        paths=remote.profile.paths,
        certificates=table.certificates,
        token=_token(table.token_file),
        connections=table.slots + 2,
        connect_s=remote.patience.connect_s,
    )
    stack.push_async_callback(transport.close)
    backend = RemoteBackend(remote, transport, salt=_Salts(keys, table.name))
    digest = f"upstream:{table.name}/{table.model}"
    tokenizer = await asyncio.to_thread(table.tokenizer)
    return RemoteModel(table.serves, digest, table.context_length, backend, tokenizer=tokenizer)


class _Salts:
    """Cache salts by tenant, asked of the key broker once each."""

    def __init__(self, keys: BrokerClient, endpoint: str) -> None:
        self._keys = keys
        self._endpoint = endpoint.encode()
        self._known: dict[str, str] = {}

    def __call__(self, tenant: str) -> str:
        if tenant not in self._known:
            key = self._keys.derive(SALT_PURPOSE, tenant.encode(), self._endpoint)
            self._known[tenant] = key.hex()
        return self._known[tenant]


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsInvalid(f"{path} holds no token that can be read.") from None


async def _watch(backends: list[RemoteBackend]) -> None:
    """Ask every endpoint for its load, for ever; what it says of its health decides nothing."""
    while backends:
        await asyncio.gather(*(backend.probe() for backend in backends))
        await asyncio.sleep(PROBE_EVERY_S)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
