"""A catalogue of controls: a rule's paragraphs as data, and what evidences each of them.

Catalogues are JSON files beside this module, with the source and the edition of each paragraph.
They hold no verdict and no code: `evidence` names a query of `audit.controls.queries`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from audit.controls.errors import CatalogueMalformed, FrameworkUnknown

FORMAT = "sealgate/controls/v1"
FRAMEWORKS = ("hipaa", "hipaa-2025", "eu-ai-act", "gdpr", "cn-labelling")


class Kind(StrEnum):
    """How far this system's records can evidence a control."""

    AUTOMATIC = "automatic"
    PARTIAL = "partial"
    ORGANISATIONAL = "organisational"


@dataclass(frozen=True, slots=True)
class Standard:
    """A standard: the heading under which implementation specifications stand."""

    id: str
    section: str
    title: str
    designation: str
    source: str
    revised: str


@dataclass(frozen=True, slots=True)
class Control:
    """One paragraph to be assessed.

    `designation` is the rule's own word: required, addressable, or standard (a standard without
    specifications, which is mandatory); where the rule has none, specification or paragraph.
    `remains` says what a partial control leaves to others.
    """

    id: str
    section: str
    standard: str
    title: str
    designation: str
    kind: Kind
    evidence: str | None
    remains: str | None
    source: str
    revised: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All controls of one framework, in the rule's own order."""

    framework: str
    title: str
    citation: str
    edition: str
    licence: str
    limits: tuple[str, ...]
    standards: tuple[Standard, ...]
    controls: tuple[Control, ...]


def load(framework: str) -> Catalogue:
    """Load the catalogue of a framework from the package's data.

    Raises:
        FrameworkUnknown: there is no such catalogue.
        CatalogueMalformed: the file contradicts its own format.
    """
    if framework not in FRAMEWORKS:
        raise FrameworkUnknown(
            f"There is no catalogue for {framework!r}; choose one of: {', '.join(FRAMEWORKS)}."
        )
    text = (files("audit.controls") / f"{framework}.json").read_text(encoding="utf-8")
    return parse(json.loads(text))


def parse(document: Mapping[str, Any]) -> Catalogue:
    """Read a decoded catalogue.

    Raises:
        CatalogueMalformed: another format, a missing or unknown field, or a control that could
            not be judged (see `_judgeable`).
    """
    if document.get("format") != FORMAT:
        raise CatalogueMalformed(f"a catalogue must say format {FORMAT!r}")
    try:
        catalogue = Catalogue(
            framework=document["framework"],
            title=document["title"],
            citation=document["citation"],
            edition=document["edition"],
            licence=document["licence"],
            limits=tuple(document["limits"]),
            standards=tuple(Standard(**each) for each in document["standards"]),
            controls=tuple(_control(each) for each in document["controls"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CatalogueMalformed(f"a catalogue's fields do not fit {FORMAT}: {error}") from error
    _check(catalogue)
    return catalogue


def _control(fields: Mapping[str, Any]) -> Control:
    return Control(**{**fields, "kind": Kind(fields["kind"])})


def _check(catalogue: Catalogue) -> None:
    standards = {standard.id for standard in catalogue.standards}
    seen: set[str] = set()
    for control in catalogue.controls:
        if control.id in seen:
            raise CatalogueMalformed(f"{control.id} is listed twice")
        if control.standard not in standards:
            raise CatalogueMalformed(f"{control.id} names an unknown standard {control.standard}")
        if not _judgeable(control):
            raise CatalogueMalformed(
                f"{control.id}: an organisational control has no evidence and no remainder, "
                "an automatic one has evidence only, a partial one has both"
            )
        seen.add(control.id)


def _judgeable(control: Control) -> bool:
    expected = {
        Kind.AUTOMATIC: (True, False),
        Kind.PARTIAL: (True, True),
        Kind.ORGANISATIONAL: (False, False),
    }
    return (bool(control.evidence), bool(control.remains)) == expected[control.kind]
