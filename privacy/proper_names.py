"""Names of people and places, by titles, labels, verbs and the company they keep.

No model and no register: two capitals in a row within a sentence are a name unless both are words
that notes write so. A lone surname that nothing announces is not found.
"""

import re

from privacy.commonwords import COMMON_WORDS
from privacy.givennames import GIVEN_NAMES
from privacy.recogniser import Recogniser, labelled
from privacy.wording import (
    BLANKS,
    CREDENTIAL,
    FACILITY,
    FULL,
    INITIAL,
    NAME,
    SEVERAL,
    STATE_NAMES,
    STATES,
    STREET,
    TITLE,
)

_LABEL = (
    r"(?:[Pp]atient(?:'s)? [Nn]ame|[Pp]atient|[Pp]t|[Nn]ame|[Nn]ext of kin|[Ee]mergency contact"
    r"|[Ss]igned(?: by)?|[Dd]ictated by|[Tt]ranscribed by|[Rr]eviewed by|[Pp]hysician|[Pp]rovider"
    r"|[Aa]ttending|[Rr]eferred by|[Rr]eferring|[Gg]uardian|[Cc]ontact|[Aa]ttn|cc|CC|Dear|Sincerely"
    r"|[Ss]urgeon|[Aa]nesthesiologist|[Tt]herapist|[Cc]aregiver|[Ww]itness|[Ii]nterpreter|PATIENT"
    r"|NAME|[Pp]roxy|POA|HCP|PCP|RE|Re)"
)
_KIN = (
    r"(?:spouse|wife|husband|mother|father|son|daughter|brother|sister|partner|fianc[eé]e?|friend"
    r"|neighbou?r|aunt|uncle|niece|nephew|cousin|grand(?:mother|father|son|daughter)|roommate"
    r"|girlfriend|boyfriend|caregiver|stepson|stepdaughter|twin)"
)
_PREDICATE = (
    r"(?:is|was|has|had|reports?|reported|states?|stated|denies|denied|says|said|presents?|presented"
    r"|complains|complained|came|comes|called|calls|returns?|returned|will|would|lives?|feels|felt"
    r"|underwent|needs|wants|agrees|agreed|asks|asked|tolerated|appears|remains|who|works|worked"
    r"|consented|signed|arrived|left|went|visited|received|requests|accompanied|confirmed|and)\b"
)
_TOWARDS = (
    r"(?:with|by|to|from|for|of|told|saw|met|per|and|called|thank|notified|informed|contacted"
    r"|asked|reached|paged|via|about|named|is|was|as|that|see|saw|consult|consulted)"
)
_LOCATED = (
    r"(?:live[sd]?|resid(?:es|ed|ing)|resident|moved|relocated|born|raised|native|come[s]?|came"
    r"|transferred|traveled|travelled|travels|drove|flew|returned|visit(?:ed|ing)?|works?|worked"
    r"|working|stay(?:s|ed|ing)?|grew up|home|based|located|discharged|admitted|seen"
    r"|hospitali[sz]ed|retired|hails|originally|family|found|farm|house|apartment|living|vacation(?:ed|ing)?)"
)


def _is_name(text: str) -> bool:
    """Tell a name from words that notes write with a capital."""
    words = re.findall(r"[^\W\d_][\w'\u2019.-]*", text)
    return not any(word.rstrip(".") in COMMON_WORDS for word in words)


def _before_name(text: str) -> int:
    """Return how long the words before a name are that notes write with a capital, with no title.

    The last word is never among them: a name that is a word as well may still be one.
    """
    skipped = 0
    for word in re.finditer(r"\S+[ \t]+", text):
        if word[0].rstrip(" \t.") not in COMMON_WORDS:
            break
        skipped = word.end()
    return skipped


def _is_place(text: str) -> bool:
    return text not in COMMON_WORDS and text not in GIVEN_NAMES


def _name(pattern: str, group: int = 0) -> Recogniser:
    return Recogniser("name", re.compile(pattern), group)


def _checked(pattern: str, group: int = 0) -> Recogniser:
    return Recogniser("name", re.compile(pattern), group, _is_name, _before_name)


def _several(pattern: str, group: int = 0) -> Recogniser:
    """Recognise two words or more: what is left of a heading by itself is no name."""

    def accept(text: str) -> bool:
        return len(text.split()) > 1 and _is_name(text)

    return Recogniser("name", re.compile(pattern), group, accept, _before_name, likely=True)


def _place(pattern: str, group: int = 0) -> Recogniser:
    return Recogniser("place", re.compile(pattern), group)


_GIVEN = "|".join(sorted(GIVEN_NAMES))

PLACES = (
    _place(
        rf"\b\d{{1,6}} (?:[NSEW]\.? |North |South |East |West )?"
        rf"(?:{NAME} |\d{{1,3}}(?:st|nd|rd|th) ){{1,4}}{STREET}"
        r"(?:,? (?:Apt|Unit|Suite|Ste|Floor|#)\.? ?\w{1,40})?"
    ),
    _place(r"\bP\.?O\.? Box \d{1,6}\b"),
    _place(
        rf"\b(?:{NAME} ){{0,2}}{NAME}, (?!MD\b(?! \d))(?:{STATES}|{STATE_NAMES})\b"
        r"(?:,? \d{5}(?:-\d{4})?)?"
    ),
    _place(rf"\b(?:{STATES}) \d{{5}}(?:-\d{{4}})?\b"),
    labelled("place", r"zip(?: code)?|postcode|postal code", r"\d{5}(?:-\d{4})?"),
    Recogniser(
        "place",
        re.compile(
            rf"\b(?i:{_LOCATED})\b(?: \w{{1,40}}){{0,2}}?"
            r" (?:in|from|to|at|near|of|out of|outside|around)"
            rf" (?:the )?({NAME}(?: {NAME})?)"
        ),
        1,
        _is_place,
        likely=True,
    ),
    Recogniser(
        "place",
        re.compile(rf"\b(?i:visit(?:ed|ing|s)?|near|outside|toured) ({NAME})"),
        1,
        _is_place,
        likely=True,
    ),
    _place(
        rf"\b(?:{NAME} ){{1,3}}(?:County|Township|Parish|Borough|Village|Heights|Springs|Falls)\b"
    ),
    Recogniser(
        "place",
        re.compile(rf"\b((?:(?:Saint|St\.|Mount|Mt\.) )?(?:{NAME} ){{1,3}}){FACILITY}"),
        1,
        lambda text: _is_name(text.strip()),
        likely=True,
    ),
)

NAMES = (
    _name(rf"\b{TITLE}{BLANKS}({FULL})", 1),
    _name(
        rf"\b{_LABEL}(?:{BLANKS})?[:=,](?:{BLANKS})?\n?(?:{BLANKS})?"
        rf"({FULL}(?:,(?:{BLANKS})?{FULL})?)",
        1,
    ),
    _several(rf"\b{_LABEL}(?: is| was|,)?{BLANKS}({SEVERAL})", 1),
    _checked(rf"\b{_KIN}(?:,| is| was| named| called)?{BLANKS}({FULL})", 1),
    _name(rf"\b({FULL}),? {CREDENTIAL}", 1),
    _name(rf"\b(?:{_GIVEN})(?:{BLANKS}(?:{INITIAL}|{NAME})){{1,2}}"),
    _name(rf"\b{NAME}, (?:{_GIVEN})\b(?: {INITIAL})?"),
    # In capitals, as forms print them.
    _checked(r"\b[A-Z]{3,40}, [A-Z]{3,40}(?: [A-Z]\.?)?\b"),
    # Within a sentence, behind what is said of people; and before what people do.
    _several(rf"\b{_TOWARDS}{BLANKS}({SEVERAL})\b", 1),
    _several(rf"(?<![\w])({SEVERAL})(?='s\b|{BLANKS}{_PREDICATE}|, (?:a|an|age|aged|who)\b)", 1),
    _several(rf"(?<=[a-z,] )({SEVERAL})\b", 1),
    _checked(
        rf"\b({NAME})(?={BLANKS}(?:reports|states|denies|complains|presents|says|feels)\b)", 1
    ),
)
