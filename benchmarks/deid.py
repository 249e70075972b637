"""Recall and precision of the recognisers on generated notes whose identifiers are known.

The names, towns and phrases are other ones than the recognisers' own lists, and half of the phrases
announce an identifier in ways that no recogniser looks for. Generated notes are tidier than real
ones: read the figures as an upper bound. `python benchmarks/deid.py [notes] [seed]`.
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from privacy.identifiers import find

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
    fill = {
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
    filled("date", "Last seen ", "#/##"),
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


def note(chance: random.Random) -> tuple[str, list[tuple[int, int, str]]]:
    """Generate a note, and where its identifiers stand."""
    text, marks = "", []
    for _ in range(8):
        for piece in (Piece(chance.choice(FILLER)), *chance.choice(PHRASES)(chance)):
            if piece.kind:
                marks.append((len(text), len(text) + len(piece.text), piece.kind))
            text += piece.text
    return text, marks


def main() -> None:
    """Print recall by kind, whole and in part, and precision by character."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notes", type=int, nargs="?", default=2000)
    parser.add_argument("seed", type=int, nargs="?", default=7)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - notes, not keys
    there, whole, touched = Counter[str](), Counter[str](), Counter[str]()
    hidden = right = 0
    for _ in range(arguments.notes):
        text, marks = note(chance)
        covered = {i for f in find(text) for i in range(f.start, f.end)}
        identifying = {i for start, end, _ in marks for i in range(start, end)}
        hidden += len(covered)
        right += len(covered & identifying)
        for start, end, kind in marks:
            there[kind] += 1
            whole[kind] += covered.issuperset(range(start, end))
            touched[kind] += not covered.isdisjoint(range(start, end))
    print(f"{arguments.notes} notes, seed {arguments.seed}, {sum(there.values())} identifiers")
    print(f"{'kind':<12}{'there':>7}{'whole':>9}{'in part':>9}")
    for kind in sorted(there):
        share = whole[kind] / there[kind], touched[kind] / there[kind]
        print(f"{kind:<12}{there[kind]:>7}{share[0]:>9.3f}{share[1]:>9.3f}")
    total = sum(there.values())
    print(f"recall_whole={sum(whole.values()) / total:.3f}")
    print(f"recall_in_part={sum(touched.values()) / total:.3f}")
    print(f"precision_characters={right / hidden:.3f}")


if __name__ == "__main__":
    main()
