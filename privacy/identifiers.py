"""What in a text may identify a person: patterns for the identifiers of 45 CFR 164.514(b)(2)(i).

Patterns and short word lists, no model: fast, explainable, and blind to a name that stands without
a title, a label or a common given name. What is found is no proof that nothing else is there, so
nothing here is ever called de-identified.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from privacy.givennames import GIVEN_NAMES

_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_NAME = r"[A-Z][a-zà-ÿ]+(?:['\u2019-][A-ZÀ-Þ]?[a-zà-ÿ]+)*"
_INITIAL = r"(?:[A-Z]\.)"
_PARTICLE = r"(?:van|von|de|del|la|der|bin|al)\b"
_FULL = rf"(?:{_NAME}|{_INITIAL})(?:[ \t]+(?:{_NAME}|{_INITIAL}|{_PARTICLE})){{0,3}}"
_TITLE = r"(?:Mrs?|Ms|Miss|Mx|Dr|Prof|Nurse|Sister|Rev|Sir|Dame|Capt|Sgt)\b\.?"
_LABEL = (
    r"(?:[Pp]atient(?:'s)? [Nn]ame|[Pp]atient|[Nn]ame|[Nn]ext of kin|[Ss]pouse|[Ww]ife|[Hh]usband"
    r"|[Mm]other|[Ff]ather|[Ss]on|[Dd]aughter|[Bb]rother|[Ss]ister|[Ee]mergency contact|[Ss]igned"
    r"|[Pp]hysician|[Pp]rovider|[Aa]ttending|[Rr]eferred by|[Gg]uardian|PATIENT|NAME)"
)
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl"
    r"|Terrace|Ter|Highway|Hwy|Circle|Cir|Square|Sq|Parkway|Pkwy)\b\.?"
)
_STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]"
    "|T[NX]|UT|V[AT]|W[AIVY]"
)
_CODE = r"[A-Z0-9](?:[A-Z0-9-]{2,20})[A-Z0-9]"


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of the text, in characters, end exclusive. kind: one of `KINDS`."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Recogniser:
    """group: what the finding is; the rest of the match is its context."""

    kind: str
    pattern: re.Pattern[str]
    group: int = 0
    accept: Callable[[str], bool] = bool


def _labelled(kind: str, label: str, value: str = _CODE) -> _Recogniser:
    """Recognise a value behind a label: `MRN: 12345`, `account no. 99-12`."""
    between = r"(?:\s*(?:number|no\.?|num\.?|#|id|ID|is|was))*\s*[:#=]?\s*"
    pattern = rf"\b(?i:{label})\b{between}(?=[A-Z0-9-]*\d)({value})"
    return _Recogniser(kind, re.compile(pattern), 1)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_ssn(text: str) -> bool:
    """Tell numbers that the Social Security Administration could have issued."""
    area, group, serial = text[:3], text[-6:-4], text[-4:]
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


RECOGNISERS: tuple[_Recogniser, ...] = (
    _Recogniser("email", re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")),
    _Recogniser("url", re.compile(r"\b(?:https?://|www\.)[^\s<>\"')\]]{3,500}[^\s<>\"')\].,;]")),
    _Recogniser("ip", re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]\d)"), 0, _is_address),
    _Recogniser(
        "ip",
        re.compile(r"(?<![\w:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])"),
        0,
        _is_address,
    ),
    _Recogniser("ssn", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"), 0, _is_ssn),
    _labelled("ssn", r"ssn|social security", r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    _labelled("fax", r"fax", r"[+(\d][\d ().-]{6,18}\d"),
    _labelled("phone", r"phone|tel|telephone|cell|mobile|call", r"[+(\d][\d ().-]{6,18}\d"),
    _Recogniser(
        "phone",
        re.compile(r"(?<![\d-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\d-])"),
    ),
    _Recogniser("phone", re.compile(r"(?<!\w)\+\d{1,3}[ .-]?(?:\d[ .-]?){6,12}\d(?!\d)")),
    _labelled("record", r"mrn|medical record|record|chart|hospital number|patient id|encounter"),
    _labelled(
        "plan",
        r"(?:health )?plan|member|policy|subscriber|insurance|beneficiary|medicare"
        r"|medicaid|mbi|group",
    ),
    _labelled("account", r"account|acct|invoice|billing|iban|card"),
    _Recogniser(
        "account", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
    ),
    _labelled("licence", r"licen[sc]e|certificate|dea|npi|driver'?s licen[sc]e|passport|permit"),
    _labelled("vehicle", r"vin|vehicle|licen[sc]e plate|plate|registration"),
    _Recogniser(
        "vehicle",
        re.compile(
            r"\b(?=[A-HJ-NPR-Z0-9]*\d)(?=[A-HJ-NPR-Z0-9]*[A-Z])"
            r"[A-HJ-NPR-Z0-9]{17}\b"
        ),
    ),
    _labelled(
        "device", r"serial|device|implant|pacemaker|udi|imei|model", r"[A-Z0-9][A-Z0-9-]{4,30}"
    ),
    _Recogniser("device", re.compile(r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b")),
    _labelled("biometric", r"fingerprint|retina|iris scan|voice ?print|biometric"),
    _Recogniser(
        "photo", re.compile(r"\b[\w-]{1,80}\.(?:jpe?g|png|heic|tiff?|dcm)\b", re.IGNORECASE)
    ),
    _Recogniser(
        "date",
        re.compile(
            r"\b(?:\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}[/.-]\d{1,2}[/.-]\d{1,2})\b"
        ),
    ),
    _Recogniser("date", re.compile(rf"\b{_MONTHS}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?\b")),
    _Recogniser(
        "date", re.compile(rf"\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTHS}(?:,?\s+\d{{4}})?\b")
    ),
    _labelled("date", r"dob|born|birth ?date|date of birth|admitted|discharged", r"\d[\d/.-]{5,9}"),
    # 164.514(b)(2)(i)(C): every age over 89.
    _Recogniser("age", re.compile(r"\b(9\d|1[0-2]\d)(?=[ -](?:year|yr|y/o|yo\b))"), 1),
    _Recogniser("age", re.compile(r"\b[Aa]ged?:? (9\d|1[0-2]\d)\b"), 1),
    _Recogniser(
        "place",
        re.compile(
            rf"\b\d{{1,6}} (?:[NSEW]\.? )?(?:{_NAME} ){{1,4}}{_STREET}"
            r"(?:,? (?:Apt|Unit|Suite|#) ?\w+)?"
        ),
    ),
    _Recogniser(
        "place",
        re.compile(rf"\b(?:{_NAME} ){{0,2}}{_NAME}, (?:{_STATES})(?: \d{{5}}(?:-\d{{4}})?)?\b"),
    ),
    _Recogniser("place", re.compile(rf"\b(?:{_STATES}) \d{{5}}(?:-\d{{4}})?\b")),
    _labelled("place", r"zip(?: code)?|postcode|postal code", r"\d{5}(?:-\d{4})?"),
    _Recogniser(
        "place",
        re.compile(
            r"\b(?:lives? in|resid(?:es|ing) in|resident of|from|moved to|born in) "
            rf"({_NAME}(?: {_NAME})?)"
        ),
        1,
    ),
    _Recogniser("place", re.compile(rf"\b(?:{_NAME} ){{1,3}}County\b")),
    _Recogniser("name", re.compile(rf"\b{_TITLE}[ \t]+({_FULL})"), 1),
    _Recogniser("name", re.compile(rf"\b{_LABEL}[ \t]*[:=][ \t]*({_FULL}(?:,[ \t]*{_FULL})?)"), 1),
    _Recogniser(
        "name", re.compile(rf"\b{_LABEL}(?: is| was|,)?[ \t]+((?:{_NAME}[ \t]+){{1,2}}{_NAME})"), 1
    ),
    _Recogniser(
        "name",
        re.compile(
            rf"\b(?:{'|'.join(sorted(GIVEN_NAMES))})(?:[ \t]+(?:{_INITIAL}|{_NAME})){{1,2}}"
        ),
    ),
    _Recogniser("name", re.compile(rf"\b{_NAME}, (?:{'|'.join(sorted(GIVEN_NAMES))})\b")),
    _labelled(
        "number",
        r"id|identifier|number|no|ref|reference|case|ticket|badge|specimen|accession"
        r"|study|trial|protocol|order",
    ),
)
KINDS = tuple(dict.fromkeys(recogniser.kind for recogniser in RECOGNISERS))


def find(text: str) -> list[Finding]:
    """Return what may identify a person, in order, none overlapping.

    Of two that overlap the one that begins first stays, and is widened to the end of the other.
    """
    found: list[Finding] = []
    for finding in sorted(_matches(text), key=lambda f: (f.start, -f.end)):
        last = found[-1] if found else None
        if last is None or finding.start >= last.end:
            found.append(finding)
        elif finding.end > last.end:
            found[-1] = Finding(last.start, finding.end, last.kind)
    return found


def _matches(text: str) -> Iterator[Finding]:
    for recogniser in RECOGNISERS:
        for match in recogniser.pattern.finditer(text):
            start, end = match.span(recogniser.group)
            if start < end and recogniser.accept(text[start:end]):
                yield Finding(start, end, recogniser.kind)
