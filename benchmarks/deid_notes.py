"""Notes of a clinic, generated, and where their identifiers stand.

Two sets of phrases, whose names and towns are in no list of the recognisers: those that they were
written by, and others that were put down afterwards and that nothing was fitted to.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

GIVEN = [
    "Anneliese",
    "Tobias",
    "Marguerite",
    "Kwame",
    "Ingrid",
    "Desmond",
    "Rosalind",
    "Thaddeus",
    "Oluchi",
    "Bronwyn",
]
COMMON = [
    "Maria",
    "James",
    "Susan",
    "Robert",
    "Linda",
    "David",
    "Elizabeth",
    "Thomas",
    "Karen",
    "William",
]
FAMILY = [
    "Abernathy",
    "Castellanos",
    "Oyelaran",
    "Lindqvist",
    "Harrow",
    "Beaumont",
    "Tanaka",
    "Whitlock",
    "Ferreira",
]
TOWNS = [
    "Millbrook",
    "Harlow",
    "Saint-Clair",
    "Eastport",
    "Dunmore",
    "Ridgefield",
    "Calder",
    "Winslow",
]
STATES = [
    "OH",
    "TX",
    "CA",
    "NY",
    "WA",
    "GA",
]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
]


@dataclass(frozen=True)
class Piece:
    """Text of a note. kind: None for what identifies nobody."""

    text: str
    kind: str | None = None


Maker = Callable[[random.Random], list[Piece]]


def digits(chance: random.Random, pattern: str) -> str:
    """Fill a pattern: # by a digit, @ by a capital letter, & by an at sign."""
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    fill: dict[str, Callable[[], str]] = {
        "#": lambda: chance.choice("123456789"),
        "@": lambda: chance.choice(letters),
        "&": lambda: "@",
    }
    return "".join(fill[c]() if c in fill else c for c in pattern)


def filled(kind: str, before: str, pattern: str, after: str = ". ") -> Maker:
    """Make a phrase around a value of a pattern."""
    return lambda chance: [Piece(before), Piece(digits(chance, pattern), kind), Piece(after)]


def named(before: str, given: list[str], after: str) -> Maker:
    """Make a phrase around a full name."""
    return lambda chance: [
        Piece(before),
        Piece(f"{chance.choice(given)} {chance.choice(FAMILY)}", "name"),
        Piece(after),
    ]


def town(before: str, after: str = ". ") -> Maker:
    """Make a phrase around a town."""
    return lambda chance: [Piece(before), Piece(chance.choice(TOWNS), "place"), Piece(after)]


def spoken_date(chance: random.Random) -> list[Piece]:
    """Make a date in words."""
    date = f"{chance.choice(MONTHS)} {chance.randint(1, 28)}, {chance.randint(1940, 2026)}"
    return [Piece("Surgery took place on "), Piece(date, "date"), Piece(". ")]


def address(chance: random.Random) -> list[Piece]:
    """Make a postal address."""
    way = chance.choice(["Street", "Ave", "Lane"])
    street = f"{chance.randint(2, 9999)} {chance.choice(FAMILY)} {way}"
    place = f"{chance.choice(TOWNS)}, {chance.choice(STATES)} {digits(chance, '#####')}"
    return [
        Piece("Home: "),
        Piece(street, "place"),
        Piece(", "),
        Piece(place, "place"),
        Piece(". "),
    ]


PHRASES: tuple[Maker, ...] = (
    named("Patient: ", GIVEN, ". "),
    named("Seen today with ", COMMON, ". "),
    named("Dr. ", GIVEN, " was consulted. "),
    named("The results were discussed with ", GIVEN, " by telephone. "),
    named("", GIVEN, " reports feeling better. "),
    town("She lives in "),
    town("The family comes from the "),
    town("Transferred out of ", " General. "),
    address,
    spoken_date,
    filled("date", "Admitted ", "0#/1#/20##"),
    filled("date", "Follow-up on ", "19##-0#-1#"),
    filled("date", "Last seen ", "#/1#"),
    filled("age", "The patient is a ", "9#", "-year-old woman. "),
    filled("phone", "Call ", "(###) ###-####"),
    filled("phone", "Her number at work is ", "###.###.####"),
    filled("fax", "Fax ", "###-###-####"),
    filled("email", "Write to ", "@@@##&mail.example"),
    filled("ssn", "SSN ", "###-##-####"),
    filled("record", "MRN: ", "########"),
    filled("record", "Filed under ", "@##-#####"),
    filled("plan", "Member ID ", "@@@######"),
    filled("account", "Account no. ", "####-######"),
    filled("licence", "DEA ", "@@#######"),
    filled("vehicle", "Driving a car with plate ", "@@@-####"),
    filled("device", "Pacemaker serial ", "@@-######"),
    filled("url", "See ", "https://portal.example/p/####"),
    filled("ip", "Logged in from ", "1##.1#.#.##"),
    filled("biometric", "Fingerprint ID ", "@@-####"),
    filled("photo", "Image ", "@@@_####.jpg"),
    filled("number", "Specimen ", "S##-#####"),
)
FILLER = (
    "Blood pressure 128/82, pulse 76. ",
    "Continue metformin 500 mg twice daily. ",
    "Denies chest pain. ",
    "Hemoglobin A1c 7.1 %. ",
    "Wound is clean and dry. ",
    "Return if symptoms worsen in May or later. ",
    "Lungs clear to auscultation. History of asthma since childhood. ",
    "The Apgar score was 9. Crohn disease is in remission. ",
    "Ejection fraction 55 to 60 %. Stage 2 disease. ",
)


HELD_OUT_GIVEN = ["Wilhelmina", "Ezekiel", "Saoirse", "Bartholomew", "Ngozi", "Leopold", "Tamsin"]
HELD_OUT_FAMILY = ["Pemberton", "Szczepanski", "McAllister", "Villanueva", "Thorsen", "Achterberg"]
HELD_OUT_TOWNS = ["Copperfield", "Larkspur", "Northgate", "Tillamook", "Brackenridge", "Fernhollow"]


def person(before: str, after: str, form: str = "{given} {family}") -> Maker:
    """Make a phrase around a name that nothing was fitted to."""

    def make(chance: random.Random) -> list[Piece]:
        name = form.format(
            given=chance.choice(HELD_OUT_GIVEN), family=chance.choice(HELD_OUT_FAMILY)
        )
        return [Piece(before), Piece(name, "name"), Piece(after)]

    return make


def place(before: str, after: str) -> Maker:
    """Make a phrase around a town that nothing was fitted to."""
    return lambda chance: [
        Piece(before),
        Piece(chance.choice(HELD_OUT_TOWNS), "place"),
        Piece(after),
    ]


HELD_OUT: tuple[Maker, ...] = (
    person("Spoke at length to ", " regarding goals of care. "),
    person("", " was brought in by ambulance overnight. "),
    person("Her sister ", " is at the bedside. ", "{given}"),
    person("Thank you for referring Mr. ", " to our practice. ", "{family}"),
    person("Electronically signed: ", ", MD. "),
    person("Emergency contact is ", ", reachable day and night. "),
    person("Case reviewed with ", " from cardiology. "),
    person("According to ", ", the pills were lost. "),
    place("He grew up in ", " and smoked for years. "),
    place("She was transferred from ", " Memorial after a fall. "),
    place("Patient recently moved to ", " with family. "),
    place("Works at a farm near ", ". "),
    lambda chance: [
        Piece("Mail results to "),
        Piece(f"{chance.randint(10, 999)} {chance.choice(HELD_OUT_TOWNS)} Road", "place"),
        Piece(". "),
    ],
    filled("place", "Zip code ", "#####"),
    filled("date", "Colonoscopy due ", "1#/2#/20##"),
    filled("date", "Symptoms began on ", "20##-0#-2#"),
    filled("date", "Next appointment ", "1#-Mar-20##"),
    lambda chance: [
        Piece("Last mammogram in "),
        Piece(f"{chance.choice(MONTHS)} {chance.randint(1990, 2026)}", "date"),
        Piece(". "),
    ],
    lambda chance: [
        Piece("Born on the "),
        Piece(f"{chance.randint(4, 20)}th of {chance.choice(MONTHS)}", "date"),
        Piece(". "),
    ],
    filled("age", "He is ", "9#", " years old and frail. "),
    filled("age", "Aged ", "9#", " at the time of the fall. "),
    filled("phone", "Reach the daughter at ", "###-###-####"),
    filled("phone", "Pager ", "###-####"),
    filled("fax", "Results by facsimile to ", "(###) ###-####"),
    filled("email", "Portal login is ", "@@@.@@##&clinic.example"),
    filled("ssn", "Social security number is ", "###-##-####"),
    filled("record", "Hospital number ", "#######"),
    filled("record", "Chart #", "@@######"),
    filled("plan", "Policy number: ", "@@#########"),
    filled("account", "Billing account ", "########"),
    filled("licence", "Driver's license no. ", "@#######"),
    filled("vehicle", "Vehicle registration ", "@@@ ###"),
    filled("device", "Implant S/N ", "@@#######"),
    filled("url", "Records are at ", "www.clinic.example/u/####"),
    filled("ip", "Access came from ", "10.#.1#.2#"),
    filled("biometric", "Voice print ", "@@@-#####"),
    filled("photo", "Photograph saved as ", "@@@-####.png"),
    filled("number", "Accession ", "@##-######"),
    filled("number", "Trial participant ", "@@@-####"),
)


def note(
    chance: random.Random, phrases: tuple[Maker, ...]
) -> tuple[str, list[tuple[int, int, str]]]:
    """Generate a note, and where its identifiers stand."""
    text, marks = "", []
    for _ in range(8):
        for piece in (Piece(chance.choice(FILLER)), *chance.choice(phrases)(chance)):
            if piece.kind:
                marks.append((len(text), len(text) + len(piece.text), piece.kind))
            text += piece.text
    return text, marks
