"""The policy: what may happen with a request of which data class, purpose and role. One TOML file.

Rules are read in order, and the first that fits decides; where none fits, nothing is answered. The
file's SHA-256 stands in every entry, so that what was allowed when can be shown. Deciding is pure.
"""

import datetime as dt
import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from gateway.errors import RequestRefused, SettingsInvalid
from gateway.identity import Principal, Role
from gateway.limits import Allowance, Subject

DataClass = Literal["public", "internal", "phi", "unclassified"]
# Least sensitive first; what nobody declared is treated as the most sensitive.
CLASSES: tuple[DataClass, ...] = ("public", "internal", "phi", "unclassified")
# No remote receives these without an agreement with who runs it.
PROTECTED = frozenset({"phi", "unclassified"})
# After HL7 v3 PurposeOfUse (urn:oid:2.16.840.1.113883.5.8), and the one of who said none.
Purpose = Literal[
    "treatment", "payment", "operations", "research", "public_health", "emergency", "unspecified"
]
PURPOSES: tuple[str, ...] = (
    *("treatment", "payment", "operations", "research", "public_health", "emergency"),
    "unspecified",
)
Tier = Literal["local", "mobile", "edge", "cloud"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[rule]]`. What it fits: an absent list fits everything. What then holds: the rest.

    tiers: where the request may go; `local` is this machine's sandboxes. marking: `required`
    keeps it from tiers whose answers carry no mark. retention_days: how long text is kept,
    encrypted, where the setting `keep_content` is on. redaction: what leaves this machine goes
    under pseudonyms. label: answers say that a machine wrote them, in a header and in words after
    the text, English (`true` or "en") or Chinese ("zh"). manifest: a C2PA one follows the text.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\Z")]
    classes: tuple[DataClass, ...] | None = None
    purposes: tuple[Purpose, ...] | None = None
    roles: tuple[Role, ...] | None = None
    tenants: tuple[str, ...] | None = None
    allow: bool = True
    tiers: tuple[Tier, ...] = ("local",)
    marking: Literal["required", "where possible"] = "required"
    redaction: Literal["pseudonyms", "none"] = "pseudonyms"
    label: bool | Literal["en", "zh"] = False
    manifest: bool = False
    retention_days: Annotated[int, msgspec.Meta(ge=0, le=36500)] = 0


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[baa]]`: a business associate agreement (45 CFR 164.504(e)) with who runs a remote.

    remote: its name in the tiers' file. expires: the last day on which it holds, in UTC.
    """

    remote: str
    reference: str
    expires: dt.date

    def entry(self) -> dict[str, str]:
        """Return what the log keeps of it."""
        return {
            "remote": self.remote,
            "reference": self.reference,
            "expires": self.expires.isoformat(),
        }


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[limit]]`: what a tenant or a credential may ask. each: who has no own."""

    tenant: str | None = None
    credential: str | None = None
    each: Literal["tenant", "credential"] | None = None
    requests_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0
    tokens_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0
    concurrent_requests: Annotated[int, msgspec.Meta(ge=0)] = 0
    tokens_per_day: Annotated[int, msgspec.Meta(ge=0)] = 0


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[declare]]`: the data class that every request of a tenant or a credential has at least."""

    data_class: DataClass
    tenant: str | None = None
    credential: str | None = None


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as it is written."""

    version: Literal[1]
    rule: Annotated[list[Rule], msgspec.Meta(min_length=1)]
    baa: list[Agreement] = []
    limit: list[Bound] = []
    declare: list[Declared] = []


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds for one request. raised: the content made the class more sensitive."""

    data_class: str
    purpose: str
    rule: Rule
    digest: str
    raised: bool = False
    agreements: Sequence[Agreement] = ()

    def entry(self) -> dict[str, Any]:
        """Return what the log keeps of it."""
        entry = {"digest": self.digest, "rule": self.rule.name, "raised": self.raised}
        days = self.rule.retention_days
        return entry | ({"retention_days": days} if days else {})

    def grounds(self) -> dict[str, str]:
        """Return what an entry tells of it that it refused a request later on."""
        return _grounds(self.digest, self.rule, self.data_class, self.purpose)

    def agreed(self, *, today: dt.date) -> frozenset[str] | None:
        """Return the remotes that may have the request for an agreement; None: it needs none."""
        return agreed(self.agreements, self.data_class, today=today)


# What holds without a file: the tiers' own classes alone decide where a request may go.
BUILT_IN = b"""version = 1

[[rule]]
name = "built-in"
tiers = ["local", "mobile", "edge", "cloud"]
marking = "where possible"
"""


class Policy:
    """A policy in force. digest: SHA-256 over the file's bytes, `sha256:` and hexadecimal."""

    def __init__(self, content: bytes) -> None:
        self.file = _decoded(content)
        self.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"

    def rule(
        self,
        principal: Principal,
        *,
        declared: str | None,
        purpose: str | None,
        identifying: Callable[[], bool],
    ) -> Ruling:
        """Return what holds for a request.

        declared, purpose: as the caller says. identifying: whether the text holds what identifies
        a person; asked only where that would change the class.

        Raises:
            RequestRefused: 400, an unknown word; 403 `policy_denied`, nothing allows it.
        """
        _require_known("x-sealgate-data-class", declared, CLASSES)
        _require_known("x-sealgate-purpose", purpose, PURPOSES)
        purpose = purpose or "unspecified"
        data_class = _most_sensitive([*self._declared(principal), declared])
        raised = data_class in ("public", "internal") and identifying()
        if raised:
            data_class = "phi"
        found = self.first(data_class, purpose, principal.role, principal.tenant)
        if found is None or not found.allow:
            by = f"its rule {found.name!r}" if found else "none of its rules allows it"
            raise RequestRefused(
                f"The policy does not allow requests of class {data_class} for {purpose}: {by}.",
                status=403,
                kind="permission_error",
                code="policy_denied",
                grounds=_grounds(self.digest, found, data_class, purpose),
            )
        return Ruling(data_class, purpose, found, self.digest, raised, self.file.baa)

    def first(self, data_class: str, purpose: str, role: Role, tenant: str) -> Rule | None:
        """Return the first rule that fits."""
        for rule in self.file.rule:
            if all(
                allowed is None or value in allowed
                for value, allowed in (
                    (data_class, rule.classes),
                    (purpose, rule.purposes),
                    (role, rule.roles),
                    (tenant, rule.tenants),
                )
            ):
                return rule
        return None

    def subjects(self, principal: Principal) -> Sequence[Subject]:
        """Return whom a principal's requests count for, and what these may ask."""
        tenant, credential = principal.tenant, principal.credential_id
        return (
            Subject(f"tenant:{tenant}", "This tenant", self._bound("tenant", tenant)),
            Subject(f"key:{credential}", "This credential", self._bound("credential", credential)),
        )

    def _bound(self, kind: str, name: str) -> Allowance:
        named = [b for b in self.file.limit if getattr(b, kind) == name]
        each = [b for b in self.file.limit if b.each == kind]
        for bound in (*named, *each):
            return Allowance(
                bound.requests_per_minute,
                bound.tokens_per_minute,
                bound.concurrent_requests,
                bound.tokens_per_day,
            )
        return Allowance()

    def _declared(self, principal: Principal) -> list[str]:
        return [
            entry.data_class
            for entry in self.file.declare
            if entry.tenant == principal.tenant or entry.credential == principal.credential_id
        ]


class PolicyInForce:
    """The policy that holds now, and what replaces it. path: None for the built-in one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.current = load(path)

    def subjects(self, principal: Principal) -> Sequence[Subject]:
        """Return whom a principal's requests count for, and what these may ask now."""
        return self.current.subjects(principal)

    def reload(self) -> None:
        """Let the file's present content hold for requests to come.

        Raises:
            SettingsInvalid: It is no policy; the one before still holds.
        """
        self.current = load(self._path)


def agreed(
    agreements: Sequence[Agreement], data_class: str, *, today: dt.date
) -> frozenset[str] | None:
    """Return the remotes with an agreement in force; None for a class that needs none."""
    if data_class not in PROTECTED:
        return None
    return frozenset(each.remote for each in agreements if each.expires >= today)


def load(path: Path | None) -> Policy:
    """Return the policy of a file, or the built-in one.

    Raises:
        SettingsInvalid: The file cannot be read, or is no policy.
    """
    if path is None:
        return Policy(BUILT_IN)
    try:
        return Policy(path.read_bytes())
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from None


def _decoded(content: bytes) -> PolicyFile:
    try:
        return msgspec.convert(tomllib.loads(content.decode()), PolicyFile)
    except (ValueError, msgspec.ValidationError) as error:
        raise SettingsInvalid(f"The policy cannot be read: {error}.") from None


def _require_known(header: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        raise RequestRefused(
            f"{header} is one of {', '.join(known)}.", param=header, code="invalid_declaration"
        )


def _most_sensitive(declared: Sequence[str | None]) -> str:
    """Return the most sensitive of the classes that anyone declared."""
    told = [CLASSES.index(each) for each in declared if each is not None]
    return CLASSES[max(told)] if told else "unclassified"


def _grounds(digest: str, rule: Rule | None, data_class: str, purpose: str) -> dict[str, str]:
    told = {"digest": digest, "data_class": data_class, "purpose": purpose}
    return told | ({"rule": rule.name} if rule else {})
