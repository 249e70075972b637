"""Presidio's recognisers beside our own: an option, for who has `presidio-analyzer` installed.

Of Presidio come the patterns with a check digit or a context of their own. Names and places come
from a spaCy model of English where one is installed; nothing is fetched.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from privacy.errors import LibraryMissing
from privacy.identifiers import Finding, find, merged

# What scores below matches any run of digits.
LEAST_SCORE = 0.4
_KINDS = {
    "ABA_ROUTING_NUMBER": "account",
    "CREDIT_CARD": "account",
    "CRYPTO": "account",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "account",
    "IP_ADDRESS": "ip",
    "MAC_ADDRESS": "device",
    "MEDICAL_LICENSE": "licence",
    "PHONE_NUMBER": "phone",
    "UK_NHS": "record",
    "UK_NINO": "ssn",
    "US_BANK_NUMBER": "account",
    "US_CLAIM_NUMBER": "plan",
    "US_DRIVER_LICENSE": "licence",
    "US_HEALTH_INSURANCE_MEMBER_ID": "plan",
    "US_ITIN": "ssn",
    "US_MBI": "plan",
    "US_NPI": "licence",
    "US_PASSPORT": "licence",
    "US_PRESCRIPTION_NUMBER": "number",
    "US_PRIOR_AUTHORIZATION_NUMBER": "number",
    "US_PROVIDER_TAX_ID": "number",
    "US_REFERRAL_NUMBER": "number",
    "US_SSN": "ssn",
    "UUID": "number",
}
_ENTITIES = {"PERSON": "name", "GPE": "place", "LOC": "place", "FAC": "place"}
_LANGUAGE = "en"

Find = Callable[[str], Sequence[Finding]]


class PresidioMissing(LibraryMissing):
    """Presidio is asked for and not installed."""


def finder() -> Find:
    """Return what finds all that `identifiers.find` does, and what Presidio finds besides.

    Raises:
        PresidioMissing: It is not installed.
    """
    try:
        library: Any = importlib.import_module("presidio_analyzer")
        predefined: Any = importlib.import_module("presidio_analyzer.predefined_recognizers")
    except ImportError:
        raise PresidioMissing(
            "The setting presidio needs this: pip install 'sealgate[presidio]'. Or set it false."
        ) from None
    recognisers = _recognisers(library, predefined)
    model = _model()

    def found(text: str) -> Sequence[Finding]:
        findings = list(find(text))
        findings += [
            Finding(result.start, result.end, _KINDS[result.entity_type])
            for recogniser in recognisers
            for result in recogniser.analyze(text, recogniser.supported_entities, None) or ()
            if result.score >= LEAST_SCORE and result.entity_type in _KINDS
        ]
        if model is not None:
            findings += [
                Finding(entity.start_char, entity.end_char, _ENTITIES[entity.label_])
                for entity in model(text).ents
                if entity.label_ in _ENTITIES
            ]
        return merged(findings)

    return found


def _recognisers(library: Any, predefined: Any) -> list[Any]:
    """Make each recogniser that tells of a kind known here, in English."""
    made = []
    kinds = (library.PatternRecognizer, predefined.PhoneRecognizer)
    for kind in vars(predefined).values():
        if not isinstance(kind, type) or not issubclass(kind, kinds) or kind in kinds[:1]:
            continue
        recogniser: Any = kind()
        known = not _KINDS.keys().isdisjoint(recogniser.supported_entities)
        if known and recogniser.supported_language == _LANGUAGE:
            made.append(recogniser)
    return made


def _model() -> Any:
    """Return an installed spaCy model of English, the largest by its name, or None."""
    spacy: Any = importlib.import_module("spacy")
    names = sorted(n for n in spacy.util.get_installed_models() if n.startswith("en_core_web_"))
    order = ("trf", "lg", "md", "sm")
    ranked = [n for size in order for n in names if n.endswith(size)]
    return spacy.load(ranked[0]) if ranked else None
