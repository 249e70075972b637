"""`sealgate models compress`: a smaller model from a GGUF file, sealed like any other.

PyTorch is loaded by name, once this command runs: nothing that serves imports it.
"""

import hashlib
import importlib
import importlib.util
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.output import HomeOption, JsonOption, print_json, print_table
from gateway.cli.sealing import print_sealed, seal, shown
from gateway.cli.session import Session, opened
from gateway.models import gguf, trial, vocabulary
from gateway.models.errors import CompressionUnavailable
from gateway.models.importing import ImportedModel, imported
from gateway.models.tokenizer import Tokenizer

NEEDED = "torch"
COLUMNS = ("stage", "parameters", "MB", "perplexity", "tokens/s")


@dataclass(frozen=True, slots=True)
class Row:
    """One stage as the table shows it. tokens_per_s: decoding on one thread of this machine."""

    stage: str
    parameters: int
    size_bytes: int
    perplexity: float
    tokens_per_s: float


def compress(
    file: Annotated[Path, typer.Argument(help="GGUF file of the full model.")],
    *,
    model_id: Annotated[str, typer.Option("--id", help="Name to serve the small one under.")],
    text: Annotated[
        list[Path], typer.Option(help="UTF-8 text to learn from; may be given more than once.")
    ],
    groups: Annotated[int, typer.Option(min=1, help="Groups of heads that a layer keeps.")],
    channels: Annotated[int, typer.Option(min=32, help="Channels that a layer keeps.")],
    steps: Annotated[int, typer.Option(min=0, help="Steps of distillation.")] = 300,
    batch: Annotated[int, typer.Option(min=1, help="Rows of text a step.")] = 4,
    length: Annotated[int, typer.Option(min=16, help="Tokens of a row.")] = 256,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    device: Annotated[str, typer.Option(help="Where PyTorch computes: cpu, cuda.")] = "cpu",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prune a model, distil the full one into it, quantise it to 4 bits, and seal it.

    A run that was interrupted goes on where it was, if it is given the same arguments.
    """
    made = _loaded()
    made.network.require_device(device)
    plan = made.stages.Plan(
        made.pruning.Shape(groups, channels),
        made.distilling.Course(steps, batch, rate),
        batch=batch,
        device=device,
    )
    with opened(home) as session, gguf.opened(file) as source:
        model = made.floats.read(source)
        words = vocabulary.read(source.metadata, size=model.architecture.vocab_size)
        learnt = made.texts.read(text, Tokenizer(words.tokenizer_json), length=length)
        run = _run(source, learnt.sha256, plan)
        kept = made.keeping.Kept(_place(session, model_id), session.keyring, run, device)
        rows, last = [], None
        with _bar() as bar:
            for stage in made.stages.stages(model, learnt, plan, watcher=_Watcher(bar, kept)):
                last = imported(stage.file, model_id=model_id)
                rows.append(_row(stage, last))
        if last is None:
            raise CompressionUnavailable("The compression came to nothing. Try again.")
        sealed = seal(session, _named(last, plan, learnt.sha256, rows[-1]))
        kept.forget()
    if as_json:
        print_json({**shown(sealed), "stages": [asdict(row) for row in rows]})
        return
    print_table(COLUMNS, [_cells(row) for row in rows])
    print_sealed(sealed, as_json=False)


@dataclass(frozen=True, slots=True)
class _Modules:
    """The modules that need the extra."""

    distilling: Any
    floats: Any
    keeping: Any
    network: Any
    pruning: Any
    stages: Any
    texts: Any


def _loaded() -> _Modules:
    if importlib.util.find_spec(NEEDED) is None:
        raise CompressionUnavailable("Compressing needs an extra: pip install 'sealgate[train]'.")
    names = ("distilling", "floats", "keeping", "network", "pruning", "stages", "texts")
    return _Modules(
        **{name: importlib.import_module(f"gateway.models.compress.{name}") for name in names}
    )


class _Watcher:
    """Shows how far each stage is, and hands states to what keeps them."""

    def __init__(self, bar: Progress, kept: Any) -> None:
        self._bar = bar
        self._kept = kept
        self._tasks: dict[str, Any] = {}

    def told(self, stage: str, done: int, whole: int, note: str = "") -> None:
        """Move a stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=whole, note="")
        self._bar.update(self._tasks[stage], completed=done, note=note)

    def kept(self, state: Any) -> None:
        """Keep a state, if it is time to."""
        self._kept.keep(state)

    def resumed(self, student: Any) -> Any:
        """Return the state that an interrupted run left."""
        return self._kept.resumed(student)


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
    rest = (TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *rest, console=Console(stderr=True)) as bar:
        yield bar


def _place(session: Session, model_id: str) -> Path:
    """Return where a run's state is kept: not among the models, which are served."""
    place = session.home.path / "compress"
    place.mkdir(mode=0o700, exist_ok=True)
    return place / f"compress-{model_id}.sealed"


def _run(source: gguf.GgufFile, text: str, plan: Any) -> str:
    """Tell a run from every other: the model, the text, and what is to be made."""
    what = json.dumps([hashlib.sha256(source.content).hexdigest(), text, asdict(plan)])
    return hashlib.sha256(what.encode()).hexdigest()


def _row(stage: Any, model: ImportedModel) -> Row:
    return Row(
        stage.name,
        stage.parameters,
        sum(tensor.data.nbytes for tensor in stage.file.tensors.values()),
        stage.perplexity,
        trial.tokens_per_s(model, clock=time.perf_counter),
    )


def _named(model: ImportedModel, plan: Any, text: str, row: Row) -> ImportedModel:
    """Let the sealed manifest say what it was made of, and by what."""
    course = plan.course
    made = {
        "groups": plan.kept.groups,
        "channels": plan.kept.channels,
        "steps": course.steps,
        "batch": course.batch,
        "text_sha256": text,
        "perplexity_milli": round(row.perplexity * 1000),
    }
    name = f"{model.config['name']} (compressed)"
    return replace(model, config={**model.config, "name": name, "compressed": made})


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.stage,
        f"{row.parameters / 1e6:.1f} M",
        f"{row.size_bytes / 1e6:.0f}",
        f"{row.perplexity:.2f}",
        f"{row.tokens_per_s:.1f}",
    )
