"""What a zygote's workers do with the one job or batch that each of them gets: speak, or embed.

Runs inside the jail; what `warm` touched in the zygote is all that a worker can rely on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sandbox import rehearsal, together, wire
from sandbox.engines.embedding import EmbeddingEngine
from sandbox.errors import FrameInvalid
from sandbox.generate import Engine, generate
from sandbox.grammar import Grammars

# Of prompt and answer: a long prompt and a short one take different ways through the engine.
WARM_UPS = ((28, 4), (8, 16))
# Enough to run what every job runs, and to be over soon if one comes.
REHEARSAL_TOKENS = 2
NO_MARK = wire.Evidence(status="unmarked", marked=0, log_evidence=0.0)

Say = Callable[[bytes], None]


class Service(Protocol):
    """What one kind of model does."""

    def warm(self) -> None:
        """Run once, in the zygote, everything that a job will run."""

    def rehearse(self) -> None:
        """Run a short job of nobody's, in a worker that nobody waits for."""

    def serve(self, kind: bytes, payload: bytes, say: Say) -> wire.End:
        """Answer a job's frame, frame by frame to `say`, and return how it ended.

        Raises:
            FrameInvalid: It is no job of this kind.
        """


@dataclass(frozen=True, slots=True)
class Speaking:
    """Answers with tokens. grammars: None where no vocabulary came."""

    engine: Engine
    grammars: Grammars | None = None

    def warm(self) -> None:
        """Run jobs, and a grammar."""
        for prompt_tokens, max_tokens in WARM_UPS:
            rehearsal.rehearse(self.engine, prompt_tokens=prompt_tokens, max_tokens=max_tokens)
        if self._together is not None:
            batch = wire.encode([rehearsal.job(prompt_tokens=p, max_tokens=4) for p in (4, 28)])
            self.serve(wire.BATCH, batch, lambda _: None)
        if self.grammars is not None:
            self.grammars.warm()

    def rehearse(self) -> None:
        """Run a short job."""
        rehearsal.rehearse(self.engine, prompt_tokens=REHEARSAL_TOKENS, max_tokens=REHEARSAL_TOKENS)

    def serve(self, kind: bytes, payload: bytes, say: Say) -> wire.End:
        """Generate."""
        if kind == wire.BATCH and self._together is not None:
            return self._serve_together(self._together, wire.decode_batch(payload), say)
        if kind != wire.JOB:
            raise FrameInvalid("A worker takes a job and nothing else.")

        def emit(token: int) -> None:
            say(wire.frame(wire.TOKENS, wire.pack_tokens([token])))

        def tell(likelihood: wire.Likelihood) -> None:
            say(wire.frame(wire.LIKELY, wire.encode(likelihood)))

        job = wire.decode_job(payload)
        return generate(self.engine, job, emit=emit, tell=tell, grammars=self.grammars)

    @property
    def _together(self) -> together.Engine | None:
        """The engine, if it can step several sequences at once."""
        engine = self.engine
        if isinstance(engine, together.Engine) and engine.batches:
            return engine
        return None

    def _serve_together(self, engine: together.Engine, jobs: list[wire.Job], say: Say) -> wire.End:
        def tell(index: int, kind: bytes, payload: bytes) -> None:
            say(wire.frame(wire.SEQUENCE, wire.pack_sequence(index, kind, payload)))

        together.generate_together(engine, jobs, say=tell, grammars=self.grammars)
        return wire.End("stop", NO_MARK)


@dataclass(frozen=True, slots=True)
class Embedding:
    """Answers with vectors."""

    engine: EmbeddingEngine

    def warm(self) -> None:
        """Run a long text and a short one, through the wire's codec as well."""
        length = self.engine.context_length
        job = wire.encode(wire.Inputs([[0] * length, [0]]))
        wire.encode(self.serve(wire.INPUTS, job, lambda _: None))

    def rehearse(self) -> None:
        """Run a short text."""
        self.engine.embed([0] * min(REHEARSAL_TOKENS, self.engine.context_length))

    def serve(self, kind: bytes, payload: bytes, say: Say) -> wire.End:
        """Embed each text, and send its vector as soon as it is there."""
        if kind != wire.INPUTS:
            raise FrameInvalid("A worker that embeds takes texts and nothing else.")
        for tokens in wire.decode_inputs(payload).texts:
            vector = self.engine.embed(tokens)
            say(wire.frame(wire.VECTOR, np.ascontiguousarray(vector, "<f4").tobytes()))
        return wire.End("stop", NO_MARK)
