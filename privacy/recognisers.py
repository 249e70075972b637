"""The patterns: one recogniser for each way that an identifier is written, by its kind.

Numbers, codes and addresses of machines here; names and places stand in `proper_names`.
"""

import ipaddress
import re

from privacy.recogniser import Recogniser, labelled
from privacy.wording import BLANKS, MONTHS

_NUMBER = r"[+(\d][\d ().-]{6,18}\d"
_SPELT = (
    r"(?:ninety(?:-(?:one|two|three|four|five|six|seven|eight|nine))?"
    r"|(?:a|one) hundred(?: and)?(?: (?:one|two|three|four|five|six|seven|eight|nine|ten))?)"
)
_SITES = (
    r"com|org|net|edu|gov|mil|int|info|health|care|clinic|hospital|io|app|co|us|uk|ca|de|example"
)
# A fraction or a score is no date: it must be spoken of as one.
_DATED = (
    r"(?:on|since|seen|until|till|dated?|visit|visited|due|admitted|discharged|born|from|through"
    r"|before|after|by|starting|began|of|appointment|follow-?up|surgery|for)"
)


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


def _has_digits(text: str) -> bool:
    """Tell codes from short names of tests and genes, which have few digits."""
    return sum(character.isdigit() for character in text) >= 5  # noqa: PLR2004 - few


def _likely(kind: str, pattern: str) -> Recogniser:
    """Recognise what is worth hiding and may be nobody's."""
    return Recogniser(kind, re.compile(pattern), likely=True)


def _pattern(kind: str, pattern: str, group: int = 0, flags: int = 0) -> Recogniser:
    return Recogniser(kind, re.compile(pattern, flags), group)


_MACHINES = (
    _pattern("email", r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"),
    _pattern("url", r"\b(?:https?://|www\.)[^\s<>\"')\]]{3,8000}[^\s<>\"')\].,;]"),
    _likely(
        "url", rf"\b(?:[a-z0-9-]{{1,63}}\.){{1,4}}(?:{_SITES})\b(?:/[^\s<>\"')\].,;]{{0,8000}})?"
    ),
    # A name in a social network.
    _likely("url", r"(?<![\w@.])@[A-Za-z0-9_]{3,30}\b"),
    Recogniser("ip", re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]\d)"), 0, _is_address),
    Recogniser(
        "ip",
        re.compile(r"(?<![\w:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])"),
        0,
        _is_address,
    ),
    _pattern("device", r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b"),
    _pattern(
        "photo",
        r"\b[\w-]{1,80}\.(?:jpe?g|png|gif|bmp|webp|hei[cf]|tiff?|dcm|mov|mp4|avi)\b",
        flags=re.IGNORECASE,
    ),
)

_PHONES = (
    labelled("fax", r"fax|facsimile|fx", _NUMBER),
    labelled(
        "phone", r"phone|tel|telephone|cell|mobile|call|ph|pager|beeper|voicemail|dial", _NUMBER
    ),
    _pattern(
        "phone",
        r"(?<![\d-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\d-])"
        r"(?: ?(?:x|ext\.?|extension) ?\d{1,6})?",
    ),
    _pattern("phone", r"(?<!\w)\+\d{1,3}[ .-]?(?:\d[ .-]?){6,12}\d(?!\d)"),
    _likely("phone", r"(?<![\d-])\d{3}-\d{4}(?![\d-]| ?(?:mg|mcg|ml|mL|units?|IU|cells|/))"),
    labelled("phone", r"ext|extension", r"\d{2,6}"),
)

_CODES = (
    Recogniser("ssn", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"), 0, _is_ssn),
    labelled("ssn", r"ssn|ss#?|social security", r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    labelled("ssn", r"(?:ssn|social security)[\w ]{0,20} (?:ending in|last four)", r"\d{4}"),
    labelled(
        "record",
        r"mrn|mr|medical record|record|chart|hospital number|patient id|encounter|filed under"
        r"|visit|admission|case file",
    ),
    labelled(
        "plan",
        r"(?:health )?plan|member|policy|subscriber|insurance|beneficiary|medicare"
        r"|medicaid|mbi|group|payer|payor|claim|coverage|hicn",
    ),
    labelled("account", r"account|acct|a/c|invoice|billing|iban|card|routing|statement"),
    labelled("account", r"(?:account|acct|card)[\w ]{0,20} ending in", r"\d{4}"),
    _pattern("account", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    _pattern("account", r"(?<![\d-])(?:\d{4}[ -]){3}\d{4}(?![\d-])"),
    labelled(
        "vehicle", r"(?:licen[sc]e )?plates?|registration", r"[A-Z]{2,3} \d{3,4}|\d{3,4} [A-Z]{2,3}"
    ),
    labelled("vehicle", r"vin|vehicle|licen[sc]e plate|plates?|registration|tags?"),
    labelled(
        "licence",
        r"licen[sc]e|certificate|dea|npi|driver'?s licen[sc]e|passport|permit|certification"
        r"|visa|lic",
    ),
    _pattern(
        "vehicle",
        r"\b(?=[A-HJ-NPR-Z0-9]{0,16}\d)(?=[A-HJ-NPR-Z0-9]{0,16}[A-Z])[A-HJ-NPR-Z0-9]{17}\b",
    ),
    labelled(
        "device",
        r"serial|device|implant|pacemaker|udi|imei|model|lot|s/n|sn|generator|lead|prosthesis"
        r"|defibrillator|icd|pump",
        r"[A-Z0-9][A-Z0-9-]{4,30}",
    ),
    labelled(
        "biometric",
        r"fingerprint|finger print|retina|retinal scan|iris|iris scan|voice ?print|biometric"
        r"|face ?print|palm ?print|faceprint template",
    ),
    labelled(
        "number",
        r"id|identifier|number|no|ref|reference|case|ticket|badge|specimen|accession"
        r"|study|trial|protocol|order|barcode|subject|participant|confirmation|tracking|employee",
    ),
    # Codes that nothing announces: letters and then many digits, or many digits alone.
    Recogniser(
        "number", re.compile(r"\b[A-Z]{1,4}-?\d[\d-]{3,18}\d\b"), 0, _has_digits, likely=True
    ),
    _likely("number", r"(?<![\d.,-])\d{7,20}(?![\d.,-]\d)"),
    _likely("number", r"(?<![\d-])\d{3,6}-\d{5,10}(?![\d-])"),
)

_DATES = (
    _pattern(
        "date", r"\b(?:\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}[/.-]\d{1,2}[/.-]\d{1,2})\b"
    ),
    # With the time of day behind it, as machines write it.
    _pattern(
        "date", r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?"
    ),
    _pattern("date", rf"\b{MONTHS}{BLANKS}\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?{BLANKS}\d{{4}}\b)?"),
    _pattern(
        "date",
        rf"\b\d{{1,2}}(?:st|nd|rd|th)?{BLANKS}(?:day of |of )?{MONTHS}\b(?:,?{BLANKS}\d{{4}}\b)?",
    ),
    _pattern("date", rf"\b\d{{1,2}}-{MONTHS}-(?:\d{{4}}|\d{{2}})\b"),
    _pattern("date", rf"\b{MONTHS}-\d{{1,2}}-(?:\d{{4}}|\d{{2}})\b"),
    # 164.514(b)(2)(i)(C) leaves the year and nothing smaller.
    _likely("date", rf"\b{MONTHS},?{BLANKS}(?:of{BLANKS})?(?:19|20)\d{{2}}\b"),
    _likely("date", r"\b(?:0?[1-9]|1[0-2])/(?:19|20)\d{2}\b"),
    _pattern(
        "date",
        rf"\b{_DATED}:?{BLANKS}((?:0?[1-9]|1[0-2])[/-](?:0?[1-9]|[12]\d|3[01]))\b(?![/\d-])",
        1,
        re.IGNORECASE,
    ),
    labelled("date", r"dob|d\.o\.b|born|birth ?date|date of birth|admitted|discharged|doa|dod"
             r"|date of (?:admission|discharge|death|service)|dos", r"\d[\d/.-]{5,9}"),
)  # fmt: skip

# 164.514(b)(2)(i)(C): every age over 89.
_AGES = (
    _pattern("age", r"\b(9\d|1[0-2]\d)(?=[ -]?(?:years?|yrs?|y/?o|y\.o)\b)", 1, re.IGNORECASE),
    _pattern("age", rf"\b(?:aged?|age of|age is|turned|turns|is now)[:,]?{BLANKS}(9\d|1[0-2]\d)\b",
             1, re.IGNORECASE),
    _pattern("age", rf"\b({_SPELT})(?=[ -]years?\b)", 1, re.IGNORECASE),
    _pattern("age", rf"\b(?:aged?|age of|turned|turns)[:,]?{BLANKS}({_SPELT})\b", 1, re.IGNORECASE),
    _pattern("age", r"\bin (?:his|her|their|the) (90s|nineties)\b", 1, re.IGNORECASE),
)  # fmt: skip

NUMBERS: tuple[Recogniser, ...] = (*_MACHINES, *_PHONES, *_CODES, *_DATES, *_AGES)
