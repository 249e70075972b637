"""Where a distillation stands, sealed: a run that was killed goes on, and no weight lies open.

One sealed file (docs/formats/sealed-v1.md) with the student's weights and the optimiser's moments
as its tensors. It is bound to its run: another model, text or plan begins anew.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.models.compress.distilling import State
from gateway.models.compress.floats import FloatModel
from privacy import sealed
from privacy.errors import PrivacyError, SealMissing
from privacy.keyring import Keyring
from privacy.training.merging import sealed_tensors

# What a run that is killed may lose.
INTERVAL_S = 300.0


@dataclass(slots=True)
class Kept:
    """One run's file. run: what tells it from every other."""

    path: Path
    keyring: Keyring
    run: str
    device: str
    clock: Callable[[], float] = time.monotonic
    _last_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._last_s = self.clock()

    def keep(self, state: State) -> None:
        """Write the state down, if the last time is long enough ago."""
        if self.clock() - self._last_s < INTERVAL_S:
            return
        sealed.seal(
            self.path,
            keyring=self.keyring,
            model_id=self.path.stem,
            config={"format": "distillation-v1", "run": self.run, "step": state.step},
            tensors=state.arrays(),
        )
        self._last_s = self.clock()

    def resumed(self, student: FloatModel) -> State | None:
        """Return the state to go on from, None where none of this run is kept.

        Raises:
            PrivacyError: A file is there, and is not what was sealed.
        """
        try:
            reader = sealed.opened(self.path, keyring=self.keyring, model_id=self.path.stem)
        except SealMissing:
            return None
        with reader:
            config = reader.manifest["config"]
            if config.get("run") != self.run:
                return None
            arrays = {name: np.array(value) for name, value in sealed_tensors(reader).items()}
        state = State.restored(config["step"], arrays, device=self.device)
        if any(tuple(t.shape) != student.weights[n].shape for n, t in state.weights.items()):
            raise PrivacyError(f"{self.path} is of a model of another shape. Remove it.")
        return state

    def forget(self) -> None:
        """Remove the file: the run is over."""
        self.path.unlink(missing_ok=True)
