"""The loader of a private run: Poisson batches, cut into micro-batches that fit in memory."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from privacy.training.errors import LoaderNotPoisson
from privacy.training.sampling import PoissonSampler


@dataclass(frozen=True, slots=True)
class Drawn:
    """One micro-batch. records: how many. last: whether it completes its step."""

    records: int
    last: bool


class Stepping(Protocol):
    """What the loader tells of its batches."""

    @property
    def left(self) -> int:
        """How many steps can still be made."""
        ...

    def begin(self) -> None:
        """Begin a pass."""
        ...

    def expect(self, drawn: Drawn) -> None:
        """Take note of the micro-batch that the loop is about to see."""
        ...

    def empty(self) -> None:
        """Make a step that drew nobody."""
        ...


def require_loader(loader: DataLoader[Any]) -> tuple[int, int]:
    """Return records and expected batch size of a loader that Poisson sampling can stand in for.

    Raises:
        LoaderNotPoisson: It streams, weights or groups its records.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise LoaderNotPoisson(
            "The loader streams its records; Poisson sampling draws them by index. Give it a "
            "dataset with a length."
        )
    if type(loader.sampler) not in (RandomSampler, SequentialSampler) or loader.batch_size is None:
        raise LoaderNotPoisson(
            f"The loader chooses records by {type(loader.sampler).__name__}; the accountant "
            "assumes Poisson sampling. Give a DataLoader with a batch size and no sampler."
        )
    records = size_of(loader)
    return records, min(loader.batch_size, records)


def size_of(loader: DataLoader[Any]) -> int:
    """Return how many records a loader's dataset has."""
    # Datasets with indices have a length, which torch's type does not say.
    dataset: Any = loader.dataset
    return len(dataset)


class PoissonLoader:
    """Yields the collated micro-batches of one pass: as many steps as batches in the records.

    own: indices of the records that this process draws from. Tells the stepper of each
    micro-batch just before it yields it, and of a step that drew nobody, which is a step all the
    same.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        *,
        own: range,
        sampler: PoissonSampler,
        steps_per_pass: int,
        microbatch: int,
        stepper: Stepping,
    ) -> None:
        self._own = own
        self._sampler = sampler
        self._steps_per_pass = steps_per_pass
        self._microbatch = microbatch
        self._stepper = stepper
        self._ahead: deque[Drawn] = deque()
        self._loader: DataLoader[Any] = DataLoader(
            loader.dataset,
            batch_sampler=_Batches(self._indices),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )

    def __len__(self) -> int:
        return min(self._steps_per_pass, self._stepper.left)

    def __iter__(self) -> Iterator[Any]:
        self._ahead.clear()
        self._stepper.begin()
        for batch in self._loader:
            self._skip_empty()
            self._stepper.expect(self._ahead.popleft())
            yield batch
        self._skip_empty()

    def _skip_empty(self) -> None:
        while self._ahead and self._ahead[0].records == 0:
            self._ahead.popleft()
            self._stepper.empty()

    def _indices(self) -> Iterator[list[int]]:
        """Yield the indices of each micro-batch; workers may run ahead of the loop."""
        for _ in range(len(self)):
            chosen = self._sampler.draw().tolist()
            if not chosen:
                self._ahead.append(Drawn(0, last=True))
            parts = _evenly(chosen, most=self._microbatch)
            for number, part in enumerate(parts, start=1):
                self._ahead.append(Drawn(len(part), last=number == len(parts)))
                yield [self._own[index] for index in part]


def _evenly(chosen: list[int], *, most: int) -> list[list[int]]:
    """Cut into as few parts of at most `most` as can be: a small last one would be slow."""
    count = -(-len(chosen) // most)
    cuts = [len(chosen) * number // max(count, 1) for number in range(count + 1)]
    return [chosen[start:end] for start, end in pairwise(cuts)]


class _Batches:
    """What DataLoader asks of a batch sampler."""

    def __init__(self, indices: Callable[[], Iterator[list[int]]]) -> None:
        self._indices = indices

    def __iter__(self) -> Iterator[list[int]]:
        return self._indices()
