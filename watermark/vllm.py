"""The mark inside vLLM: a logits processor for both of its model runners.

vLLM loads `watermark.vllm:MarkProcessor` by `--logits-processors`, or by the entry point
`vllm.logits_processors` where this distribution is installed: by one of them, or it runs twice. A
request that carries `sealgate_mark` in `vllm_xargs` has its tokens
drawn here: the processor chooses the candidates as the request's temperature, top-k, top-p and
min-p say, draws with the mark, and masks every other token. All other requests, greedy ones and
contexts that the answer had before are left to vLLM.

Importable without vLLM, whose base classes are then missing, and without torch.

With asynchronous scheduling the first runner knows the last token in time only for processors of
`--logits-processors`; elsewhere the answer is left unmarked, and a warning says so.

With speculative decoding only the first row of each step is marked. Of candidates beyond the
1,024 most probable none is drawn by the mark.
"""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from watermark.argument import ARGUMENT, Mark, unpacked
from watermark.errors import KeyMalformed, TokenOutOfRange
from watermark.keys import TOKEN_BITS
from watermark.tensor_draws import Shape, Tensor, TensorSampler

_log = logging.getLogger("sealgate")
_LATE = (
    "vLLM schedules asynchronously and does not tell the last token in time: answers are not "
    "marked. Load watermark.vllm:MarkProcessor by --logits-processors, or --no-async-scheduling."
)
_FIRST_RUNNER = "vllm.v1.sample.logits_processor"
_SECOND_RUNNER = "vllm.v1.worker.gpu.sample.logits_processor"


def mark_of(parameters: Any) -> Mark | None:
    """Return the mark that a request's SamplingParams carry; None without one, or if greedy.

    Raises:
        KeyMalformed: Its mark cannot be read.
    """
    given = (parameters.extra_args or {}).get(ARGUMENT)
    if given is None or parameters.temperature <= 0:
        return None
    return unpacked(given)


class Marking:
    """Both runners' interfaces. vLLM says which by how it constructs a processor.

    The first runner (V1) hands in a device and calls `update_state`; the second (MRV2) hands in
    its request states and calls `add_request`.
    """

    def __init__(self, vllm_config: Any, states: Any, is_pin_memory: bool | None = None) -> None:  # noqa: FBT001 - vLLM's signature.
        # Found at run time: a gateway imports this module and has no torch.
        self._torch = importlib.import_module("torch")
        first = is_pin_memory is not None
        vocabulary = vllm_config.model_config.get_vocab_size() if first else states.vocab_size
        if vocabulary > 1 << TOKEN_BITS:
            raise TokenOutOfRange(
                f"The mark reads token ids below 2^{TOKEN_BITS}; this model has {vocabulary}."
            )
        self._states = None if first else states
        slots = vllm_config.scheduler_config.max_num_seqs if first else states.max_num_reqs
        device = states if first else states.device
        self._sampler = TensorSampler(self._torch, device, slots=slots)
        self._answers: dict[int, _Answer] = {}
        self._loaded: dict[int, _Answer] = {}
        self._warned = False

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError for a mark that cannot be read, before the request is admitted."""
        try:
            mark_of(sampling_params)
        except KeyMalformed as error:
            raise ValueError(str(error)) from None

    # The first runner.

    def is_argmax_invariant(self) -> bool:
        """Say that greedy requests are not touched.

        The runner then calls `apply` after penalties, temperature and min-p, which is where a
        mark must draw.
        """
        return True

    def update_state(self, batch_update: Any) -> None:
        """Follow requests as they enter, leave and move within the batch."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._answers.pop(index, None)
        for index, parameters, prompt, outputs in batch_update.added:
            self._answers.pop(index, None)
            mark = mark_of(parameters)
            if mark is not None and prompt:
                shape = Shape(top_k=max(0, parameters.top_k), top_p=parameters.top_p)
                self._answers[index] = _Answer(mark, shape, prompt, outputs)
        for one, two, direction in batch_update.moved:
            moved, other = self._answers.pop(one, None), self._answers.pop(two, None)
            if moved is not None:
                self._answers[two] = moved
            if other is not None and direction.name == "SWAP":
                self._answers[one] = other
        self._load()

    def _load(self) -> None:
        for slot in self._loaded.keys() - self._answers.keys():
            self._sampler.clear(slot)
        for slot, answer in self._answers.items():
            # Expanding a key takes its time; most requests stay where they are.
            if self._loaded.get(slot) is not answer:
                self._sampler.mark(slot, answer.mark.key, answer.mark.trace_id, answer.shape)
        self._loaded = dict(self._answers)
        self._sampler.flush()

    # The second runner.

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Take a request into a slot; return whether it is marked."""
        mark = mark_of(sampling_params)
        if mark is None:
            self._sampler.clear(req_idx)
            return False
        shape = Shape(
            temperature=sampling_params.temperature,
            top_k=max(0, sampling_params.top_k),
            top_p=sampling_params.top_p,
            min_p=sampling_params.min_p,
        )
        self._sampler.mark(req_idx, mark.key, mark.trace_id, shape)
        return True

    def apply_staged_writes(self) -> None:
        """Copy new requests' keys to the device."""
        self._sampler.flush()

    # Both.

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """Leave each marked row one token: the one that its mark draws."""
        return self._apply_rows(logits) if ctx is None else self._apply_context(logits, ctx)

    def _apply_rows(self, logits: Tensor) -> Tensor:
        """First runner: rows are slots, and their histories are lists on the host."""
        rows_due = {
            row: answer.due() for row, answer in self._answers.items() if row < logits.shape[0]
        }
        if not self._warned and any(answer.late for answer in self._answers.values()):
            self._warned = True
            _log.warning(_LATE)
        due = {row: context for row, context in rows_due.items() if context is not None}
        if due:
            torch, device = self._torch, logits.device
            rows = torch.tensor(list(due), device=device)
            older, newer = torch.tensor(list(due.values()), device=device).unbind(1)
            chosen = self._sampler.choose(logits[rows], rows, older, newer)
            logits[rows] = _only(torch, logits[rows], chosen)
        return logits

    def _apply_context(self, logits: Tensor, ctx: Any) -> Tensor:
        """Second runner: rows are reordered every step, and histories lie on the device."""
        if self._states is None or not self._sampler.any_marked(ctx.idx_mapping_np):
            return logits
        torch = self._torch
        slots = ctx.expanded_idx_mapping.long()
        tokens = _device_part(self._states.all_token_ids)
        longest = int(ctx.seq_lens_upper_bound_np.max())
        history = tokens[slots, :longest].long()
        newest = ctx.pos.long()
        newer = ctx.input_ids.long()
        # A prompt of one token is preceded by token 0.
        before = history.gather(1, (newest - 1).clamp(min=0)[:, None])[:, 0]
        older = torch.where(newest > 0, before, torch.zeros_like(before))
        begun = _device_part(self._states.prompt_len)[slots].long()
        seen = _seen(torch, history, (older, newer), begun=begun, newest=newest)
        wanted = self._sampler.marked[slots] & ~seen & (ctx.expanded_local_pos == 0)
        chosen = self._sampler.choose(logits, slots, older, newer)
        return torch.where(wanted[:, None], _only(torch, logits, chosen), logits)


@dataclass(slots=True)
class _Answer:
    """A marked request of the first runner. prompt, outputs: the runner's own running lists."""

    mark: Mark
    shape: Shape
    prompt: Sequence[int]
    outputs: Sequence[int]
    _seen: set[tuple[int, int]] = field(default_factory=set)
    _noted: int = 0

    @property
    def late(self) -> bool:
        """Whether the last token is not known although one was drawn."""
        return bool(self.outputs) and self.outputs[-1] < 0

    def due(self) -> tuple[int, int] | None:
        """Return the next token's context; None if the answer had it before."""
        while self._noted < len(self.outputs):
            self._seen.add(self._context(self._noted))
            self._noted += 1
        context = self._context(self._noted)
        # A negative token is a place held for one that is not known yet.
        return None if context in self._seen or min(context) < 0 else context

    def _context(self, place: int) -> tuple[int, int]:
        """Return the two tokens before the answer's token `place`."""
        tail = [0, 0, *self.prompt[-2:], *self.outputs[max(0, place - 2) : place]]
        return tail[-2], tail[-1]


def _seen(
    torch: Any, history: Tensor, context: tuple[Tensor, Tensor], *, begun: Tensor, newest: Tensor
) -> Tensor:
    """Tell of each row whether a token of its answer had this context: bool [rows].

    history: int64 [rows, columns]. begun: the answer's first place. newest: its last token's.
    """
    older, newer = context
    columns = torch.arange(1, history.shape[1], device=history.device)[None, :]
    # A context that ends at column c was that of the token at c + 1.
    own = (columns + 1 >= begun[:, None]) & (columns < newest[:, None])
    alike = (history[:, :-1] == older[:, None]) & (history[:, 1:] == newer[:, None])
    return (alike & own).any(dim=1)


def _only(torch: Any, logits: Tensor, chosen: Tensor) -> Tensor:
    """Return logits of which each row has one finite: the chosen token's."""
    alone = torch.full_like(logits, -np.inf)
    return alone.scatter(1, chosen[:, None], 0.0)


def _device_part(buffer: Any) -> Tensor:
    """Return the device's side of one of the runner's double buffers."""
    return buffer.gpu


def _processor() -> type[Marking]:
    """Return the class that vLLM loads: a subclass of each of its interfaces that is here."""
    bases = []
    for name in (_FIRST_RUNNER, _SECOND_RUNNER):
        try:
            bases.append(importlib.import_module(name).LogitsProcessor)
        except (ImportError, AttributeError):
            continue
    return type("MarkProcessor", (Marking, *bases), {"__module__": __name__, "__doc__": __doc__})


MarkProcessor = _processor()
