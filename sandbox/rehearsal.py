"""A job that is nobody's: what a process runs before it may or must answer a real one."""

from sandbox import wire
from sandbox.generate import Engine, generate


def rehearse(engine: Engine, *, prompt_tokens: int, max_tokens: int) -> None:
    """Run everything that a job runs, and drop the answer.

    In the zygote: what a library would open or allocate on first use it opens now, since a worker
    cannot. In a worker: the pages that an answer writes become its own, and the engine's code and
    weights are mapped, before somebody waits for it.
    """
    told: list[wire.Likelihood] = []
    decoded = wire.decode_job(wire.encode(job(prompt_tokens=prompt_tokens, max_tokens=max_tokens)))
    end = generate(engine, decoded, emit=lambda _: None, tell=told.append)
    wire.frame(wire.LIKELY, wire.encode(told[0]))
    wire.frame(wire.END, wire.encode(end))


def job(*, prompt_tokens: int, max_tokens: int) -> wire.Job:
    """Return a job that asks for everything that one may ask for but a grammar."""
    return wire.Job(
        prompt=[1] * prompt_tokens,
        max_tokens=max_tokens,
        temperature=1.0,
        top_k=50,
        top_p=0.9,
        eos=[],
        mark_key=bytes(32),
        trace_id=0,
        seed=bytes(32),
        likely=wire.MOST_LIKELY,
        shaping=wire.Shaping(
            min_p=0.01,
            repetition_penalty=1.1,
            frequency_penalty=0.1,
            presence_penalty=0.1,
            logit_bias={0: 1.0},
        ),
    )
