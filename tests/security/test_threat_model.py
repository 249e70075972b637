"""The threat model's table says what the attacks found."""

from pathlib import Path

from tests.security.attacks import ATTACKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "threat-model.md"
TITLES = ("attack", "first wall names", "with seccomp lifted", "because")


def rows():
    """Render the table from the data."""
    yield TITLES
    yield ("---",) * len(TITLES)
    for attack in ATTACKS:
        yield attack.name, f"`{attack.refused}`", " or ".join(attack.lifted), attack.because


def rendered():
    return "\n".join(f"| {' | '.join(row)} |" for row in rows())


def test_table_of_attacks_is_the_data():
    text = PAGE.read_text(encoding="utf-8")
    between = text.partition("<!-- attacks -->\n")[2].partition("<!-- /attacks -->")[0]
    assert between.strip() == rendered()


def test_attacks_have_distinct_names_and_there_are_enough():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 51
