"""What an examination is about: a period, a state of the log, and facts about the system.

Facts are optional, each for itself. An absent fact is not a good one: a query that needs it
concludes NO_DATA, never PASS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from audit.controls.errors import FactsMalformed, PeriodInvalid

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time in UTC, its end excluded.

    Raises:
        PeriodInvalid: a time without zone, or an end that is not after the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise PeriodInvalid("A period's times must name their zone.")
        if self.end <= self.start:
            raise PeriodInvalid("A period must end after it starts.")

    def require_begun(self, now: datetime) -> None:
        """Raise PeriodInvalid unless the period has begun: nothing can be on record of it yet."""
        if self.start > now:
            raise PeriodInvalid("The period starts in the future; choose one that has begun.")

    @property
    def start_ms(self) -> int:
        """Milliseconds since 1970, as entries carry them."""
        return _milliseconds(self.start)

    @property
    def end_ms(self) -> int:
        """Milliseconds since 1970; the first moment that is outside."""
        return _milliseconds(self.end)


@dataclass(frozen=True, slots=True)
class LogState:
    """What verification said of the log whose entries are examined.

    root_hex: the tree's root, 64 hex digits. checkpoint_note: the signed note, as published.
    verified: every entry was replayed against root and signature. problem: why that failed.
    anchored: the checkpoint is also held in another trust domain.
    """

    origin: str
    size: int
    root_hex: str
    checkpoint_note: str
    verified: bool
    problem: str | None = None
    anchored: bool = False

    @property
    def trusted(self) -> bool:
        """Whether entries of this log may evidence anything."""
        return self.verified and self.problem is None


@dataclass(frozen=True, slots=True)
class KeyFact:
    """A key of the keyring; never its value."""

    name: str
    created: str | None
    epoch: int | None
    state: str | None


@dataclass(frozen=True, slots=True)
class ModelFact:
    """A sealed model as its manifest describes it."""

    id: str
    digest: str | None
    generation: int | None
    cipher: str | None
    signature: str | None


@dataclass(frozen=True, slots=True)
class AnchorFact:
    """A place outside the log that took a checkpoint. size: of the newest one, in entries."""

    kind: str
    place: str | None
    size: int | None
    taken: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """The system's state when the report is made: given by its operator, not by the log."""

    keys: tuple[KeyFact, ...] = ()
    models: tuple[ModelFact, ...] = ()
    anchors: tuple[AnchorFact, ...] = ()
    tls: bool | None = None
    host: str | None = None
    retention_days: int | None = None

    def as_data(self) -> dict[str, Any]:
        """Return the facts that were given as JSON, as a figure holds them."""
        data: dict[str, Any] = {
            "keys": [_fields(each) for each in self.keys],
            "models": [_fields(each) for each in self.models],
            "anchors": [_fields(each) for each in self.anchors],
            "tls": self.tls,
            "host": self.host,
            "retention_days": self.retention_days,
        }
        return {name: value for name, value in data.items() if value not in (None, [])}


def facts(given: Mapping[str, Any]) -> Facts:
    """Read the facts that this package knows from a plain mapping; others are left aside.

    Raises:
        FactsMalformed: a fact of another type than documented in docs/formats/report-v1.md.
    """
    return Facts(
        keys=tuple(_key(each) for each in _list(given, "keys")),
        models=tuple(_model(each) for each in _list(given, "models")),
        anchors=tuple(_anchor(each) for each in _list(given, "anchors")),
        tls=_optional(given, "tls", bool),
        host=_optional(given, "host", str),
        retention_days=_optional(given, "retention_days", int),
    )


def _key(given: Mapping[str, Any]) -> KeyFact:
    return KeyFact(
        name=_required(given, "name"),
        created=_moment(given.get("created")),
        epoch=_optional(given, "epoch", int),
        state=_optional(given, "state", str),
    )


def _model(given: Mapping[str, Any]) -> ModelFact:
    return ModelFact(
        id=_required(given, "id"),
        digest=_optional(given, "digest", str),
        generation=_optional(given, "generation", int),
        cipher=_optional(given, "cipher", str),
        signature=_optional(given, "signature", str),
    )


def _anchor(given: Mapping[str, Any]) -> AnchorFact:
    return AnchorFact(
        kind=_required(given, "kind"),
        place=_optional(given, "place", str),
        size=_optional(given, "size", int),
        taken=_moment(given.get("taken")),
    )


def _moment(given: object) -> str | None:
    """Print a time given as text, as a datetime, or in milliseconds since 1970."""
    if isinstance(given, bool):
        raise FactsMalformed("A fact's time must be a time.")
    if isinstance(given, int):
        given = datetime.fromtimestamp(given // 1000, UTC)
    if isinstance(given, datetime):
        return given.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if given is None or isinstance(given, str):
        return given
    raise FactsMalformed("A fact's time must be a time.")


def _list(given: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = given.get(name) or []
    if not isinstance(value, list | tuple) or not all(isinstance(each, Mapping) for each in value):
        raise FactsMalformed(f"the fact {name!r} must be a list of objects")
    return list(value)


def _required(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise FactsMalformed(f"A key, model or anchor among the facts needs {name!r}, a text.")
    return value


def _optional(given: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = given.get(name)
    if value is None:
        return None
    # True is an int in Python, and nowhere else.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FactsMalformed(f"the fact {name!r} must be of type {kind.__name__}")
    return value


def _fields(fact: KeyFact | ModelFact | AnchorFact) -> dict[str, Any]:
    named = {name: getattr(fact, name) for name in fact.__slots__}
    return {name: value for name, value in named.items() if value is not None}


def _milliseconds(moment: datetime) -> int:
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * 1000 + moment.microsecond // 1000
