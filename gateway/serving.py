"""Bringing sealed models up: text side into this process, weights into a zygote each."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from gateway.backends.local import LocalBackend
from gateway.batches import Sharing
from gateway.catalogue import Catalogue, EmbeddingModel, ServedModel
from gateway.home import Home
from gateway.models.assets import EMBEDDING_FORMAT, TEMPLATE, TOKENIZER
from gateway.models.chat import ChatTemplate
from gateway.models.tokenizer import Tokenizer
from gateway.models.wordpiece import TextEncoder
from gateway.settings import Settings
from gateway.slots import FairSlots
from privacy.broker import BrokerClient
from sandbox import vocabulary
from sandbox.launch import SendWeights
from sandbox.limits import Limits
from sandbox.pool import Pool
from sandbox.vocabulary import Vocabulary


async def catalogue(
    home: Home, settings: Settings, keys: BrokerClient, stack: AsyncExitStack
) -> Catalogue:
    """Bring every model of the home up; leaving `stack` takes them down.

    Raises:
        PrivacyError: One does not open.
        ModelError: One's tokeniser or template does not load.
        SandboxError: One's zygote does not come up.
    """
    speaking: dict[str, ServedModel] = {}
    embedding: dict[str, EmbeddingModel] = {}
    for model_id in home.model_ids():
        manifest = await asyncio.to_thread(keys.manifest, model_id)
        if manifest["config"]["format"] == EMBEDDING_FORMAT:
            embedding[model_id] = await _embedding(model_id, manifest, settings, keys, stack)
        else:
            speaking[model_id] = await _speaking(model_id, manifest, settings, keys, stack)
    return Catalogue(speaking, embedding)


async def _speaking(
    model_id: str,
    manifest: Mapping[str, Any],
    settings: Settings,
    keys: BrokerClient,
    stack: AsyncExitStack,
) -> ServedModel:
    tokenizer = Tokenizer(keys.asset(model_id, TOKENIZER))
    template = ChatTemplate(keys.asset(model_id, TEMPLATE).decode(), tokenizer)
    words = [tokenizer.token_bytes(token) for token in range(int(manifest["config"]["vocab_size"]))]
    ends = [int(token) for token in manifest["config"]["eos"]]
    packed = vocabulary.pack(Vocabulary(words, ends))
    return ServedModel(
        model_id=model_id,
        digest=manifest["model_digest"],
        generation=manifest["generation"],
        created_s=manifest["created_s"],
        config=manifest["config"],
        tokenizer=tokenizer,
        template=template,
        backend=await _backend(
            _sender(model_id, keys, packed),
            settings,
            stack,
            sharing=_sharing(settings, manifest["config"]),
        ),
    )


async def _embedding(
    model_id: str,
    manifest: Mapping[str, Any],
    settings: Settings,
    keys: BrokerClient,
    stack: AsyncExitStack,
) -> EmbeddingModel:
    encoder = TextEncoder(keys.asset(model_id, TOKENIZER))
    return EmbeddingModel(
        model_id=model_id,
        digest=manifest["model_digest"],
        generation=manifest["generation"],
        created_s=manifest["created_s"],
        config=manifest["config"],
        encoder=encoder,
        backend=await _backend(_sender(model_id, keys, b""), settings, stack),
    )


async def _backend(
    send_weights: SendWeights,
    settings: Settings,
    stack: AsyncExitStack,
    *,
    sharing: Sharing | None = None,
) -> LocalBackend:
    pool = Pool(size=settings.workers, limits=Limits(), send_weights=send_weights)
    await pool.start()
    stack.push_async_callback(pool.stop)
    return LocalBackend(
        pool,
        FairSlots(settings.concurrency, waiting_limit=settings.queue_limit),
        queue_s=settings.queue_s,
        deadline_s=settings.deadline_s,
        sharing=sharing,
    )


def _sharing(settings: Settings, config: Mapping[str, Any]) -> Sharing | None:
    """Say when answers share a sandbox; None where they may not, or the model's graph cannot."""
    if settings.batch_limit == 1 or not config.get("batches"):
        return None
    return Sharing(
        limit=settings.batch_limit,
        window_s=settings.batch_window_ms / 1000,
        room_tokens=int(config["context_length"]),
    )


def _sender(model_id: str, keys: BrokerClient, packed: bytes) -> SendWeights:
    """Return what gives a zygote its weights, from the key broker, and then its vocabulary."""

    def send(destination: socket.socket) -> None:
        keys.send_weights(model_id, destination)
        # A zygote that did not take its weights says so itself.
        with contextlib.suppress(ConnectionError):
            destination.sendall(packed)

    return send
