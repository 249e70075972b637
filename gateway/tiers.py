"""The tiers of a deployment: one TOML file, read into places, remotes and thresholds.

What is not listed is not allowed: a remote endpoint receives the data classes that its entry
names, and a file that leaves a class without any tier says so at start.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from gateway.backends.base import Capabilities, Feature
from gateway.backends.profiles import PROFILES
from gateway.backends.remote import Patience, Remote
from gateway.backends.transport import Certificates, checked_origin
from gateway.errors import SettingsInvalid
from gateway.grading import Weights
from gateway.models.errors import ModelError
from gateway.models.foreign import ForeignTokenizer
from gateway.router import AUTO, LOCAL, TIERS, Candidate, Thresholds
from watermark.keys import TOKEN_BITS

# Least sensitive first. A request whose class nobody declared is `unclassified`, and is treated
# like the most sensitive: no remote receives it unless its entry names that very word.
DataClass = Literal["public", "internal", "phi", "unclassified"]
CLASSES: tuple[DataClass, ...] = ("public", "internal", "phi", "unclassified")

# What `sealgate insight tune` writes, in the home.
TUNED = "routing.toml"
T = TypeVar("T")
Tier = Literal["mobile", "edge", "cloud"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Grade = Annotated[int, msgspec.Meta(ge=0, le=100)]


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[routing]`: the thresholds that `sealgate insight tune` proposes changes to."""

    edge_from: Grade = 25
    cloud_from: Grade = 60
    stale_factor: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.5
    spread: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.0

    @property
    def thresholds(self) -> Thresholds:
        """The router's thresholds."""
        return Thresholds(self.edge_from, self.cloud_from, self.stale_factor, self.spread)


class LocalTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[local]` and `[local.models]`: the tier of the home's own models, and of single ones."""

    tier: Tier = "mobile"
    models: dict[str, Tier] = {}
    classes: tuple[DataClass, ...] = CLASSES


class RemoteTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[remote]]`: an endpoint of an OpenAI-compatible server.

    model: its own name for what it serves. serves: what clients call it here. boundary: the trust
    boundary it lies in; hedges never cross one. features: what it can do beyond text, where that is
    not what its profile can. tokenizer_file: its model's `tokenizer.json`; naming it says that the
    server loads `watermark.vllm`, and lets its answers be marked, measured and traced here.
    """

    name: Name
    tier: Tier
    profile: Literal["vllm", "sglang", "llama.cpp", "ollama", "sealgate"]
    origin: str
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    serves: Name
    boundary: Name
    classes: Annotated[tuple[DataClass, ...], msgspec.Meta(min_length=1)]
    context_length: Count
    output_limit: Count = 2048
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 8
    tenants: tuple[str, ...] | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    token_file: str | None = None
    first_token_s: Seconds = 30.0
    stall_s: Seconds = 15.0
    deadline_s: Seconds = 120.0
    features: tuple[Feature, ...] | None = None
    tokenizer_file: str | None = None

    @property
    def certificates(self) -> Certificates | None:
        """The files of mutual TLS, None where none is named."""
        files = (self.ca_file, self.certificate_file, self.key_file)
        if not any(files):
            return None
        authority, certificate, key = (Path(file or "") for file in files)
        return Certificates(authority, certificate, key)

    def remote(self) -> Remote:
        """Return the endpoint as the backend takes it."""
        patience = Patience(
            first_token_s=self.first_token_s, stall_s=self.stall_s, deadline_s=self.deadline_s
        )
        place = self.place()
        capabilities = Capabilities(
            self.context_length, self.output_limit, place.marks, place.features
        )
        profile = PROFILES[self.profile]
        return Remote(self.name, self.tier, self.model, profile, capabilities, patience)

    def place(self) -> Candidate:
        """Return the endpoint as the router sees it."""
        return Candidate(
            name=self.name,
            tier=self.tier,
            model=self.serves,
            boundary=self.boundary,
            classes=frozenset(self.classes),
            tenants=None if self.tenants is None else frozenset(self.tenants),
            context_length=self.context_length,
            output_limit=self.output_limit,
            slots=self.slots,
            features=self._features(),
            processor=self.tokenizer_file is not None,
        )

    def tokenizer(self) -> ForeignTokenizer | None:
        """Return the tokeniser of a model whose tokens are marked, None where none are.

        Raises:
            SettingsInvalid: Its file cannot be read, or has more tokens than the mark reads.
        """
        if self.tokenizer_file is None:
            return None
        try:
            tokenizer = ForeignTokenizer(Path(self.tokenizer_file).read_bytes())
        except (OSError, ModelError) as error:
            raise SettingsInvalid(
                f"{self.name}: {self.tokenizer_file} is no tokenizer.json that can be read: {error}"
            ) from None
        if tokenizer.largest >= 1 << TOKEN_BITS:
            raise SettingsInvalid(
                f"{self.name}: the mark reads token ids below 2^{TOKEN_BITS}, and this model has "
                f"{tokenizer.largest}. Leave tokenizer_file out; its answers are then unmarked."
            )
        return tokenizer

    def _features(self) -> frozenset[Feature]:
        """Return what the file says that it can do, or what its kind does as it comes."""
        told = PROFILES[self.profile].features if self.features is None else self.features
        # Ids of tokens belong to one model, and its tokeniser is not known here.
        return frozenset(told) - {"token_ids"}


class Tiers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    routing: RoutingTable = RoutingTable()
    local: LocalTable = LocalTable()
    remote: tuple[RemoteTable, ...] = ()

    @property
    def weights(self) -> Weights:
        """What the parts of a grade weigh."""
        return Weights()

    def local_place(
        self, model_id: str, *, context_length: int, output_limit: int, slots: int
    ) -> Candidate:
        """Return one of the home's models as the router sees it."""
        return Candidate(
            name=f"local/{model_id}",
            tier=self.local.models.get(model_id, self.local.tier),
            model=model_id,
            boundary=LOCAL,
            classes=frozenset(self.local.classes),
            tenants=None,
            context_length=context_length,
            output_limit=output_limit,
            slots=slots,
        )

    def orphans(self) -> tuple[str, ...]:
        """Return the data classes that no tier may receive: their requests end with 403."""
        served = {*self.local.classes, *(c for each in self.remote for c in each.classes)}
        return tuple(name for name in CLASSES if name not in served)


def load(path: Path | None, *, tuned: Path | None = None) -> Tiers:
    """Read the file; without one, the home's models are all there is.

    tuned: a file of `[routing]`'s members alone, which stand in for the first file's where it
    exists; `sealgate insight tune` writes it.

    Raises:
        SettingsInvalid: It cannot be read, or says what cannot be; the message names the entry.
    """
    tiers = Tiers() if path is None else _decoded(path, Tiers)
    if tuned is not None and tuned.exists():
        tiers = msgspec.structs.replace(tiers, routing=_decoded(tuned, RoutingTable))
    try:
        _check(tiers)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{path}: {error}") from None
    return tiers


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.ValidationError, msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{path}: {error}. Correct it and try again.") from None


def _check(tiers: Tiers) -> None:
    if tiers.routing.edge_from > tiers.routing.cloud_from:
        raise SettingsInvalid("routing.edge_from is above routing.cloud_from.")
    names = [remote.name for remote in tiers.remote]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsInvalid(f"two remotes are called {twice!r}.")
    for remote in tiers.remote:
        checked_origin(remote.origin, remote.certificates)
        if remote.serves in {AUTO, *TIERS}:
            raise SettingsInvalid(f"{remote.name}: a model cannot be called {remote.serves!r}.")
        if remote.boundary == LOCAL:
            raise SettingsInvalid(f"{remote.name}: a remote's boundary cannot be {LOCAL!r}.")
        if remote.tokenizer_file is not None and not PROFILES[remote.profile].marks:
            raise SettingsInvalid(
                f"{remote.name}: a server of profile {remote.profile!r} cannot load the mark's "
                "processor. Leave tokenizer_file out."
            )
        if not PROFILES[remote.profile].isolates and (
            remote.tenants is None or len(remote.tenants) != 1
        ):
            raise SettingsInvalid(
                f"{remote.name}: a server of profile {remote.profile!r} cannot keep tenants' "
                'cached prompts apart. Give it one tenant (tenants = ["name"]).'
            )
