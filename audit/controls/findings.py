"""How queries conclude: the three endings most of them share, and counts in words."""

from collections.abc import Sequence

from audit.controls.verdicts import Finding, Verdict


def no_data(sentence: str, *figures: str) -> Finding:
    """Conclude that the period holds nothing that could evidence the control."""
    return Finding(Verdict.NO_DATA, sentence, figures)


def contradicted(sentence: str, *figures: str) -> Finding:
    """Conclude that the records, or the system's state, contradict the control."""
    return Finding(Verdict.FAIL, sentence, figures)


def evidenced(sentence: str, *figures: str) -> Finding:
    """Conclude that the system's records evidence all of the control."""
    return Finding(Verdict.PASS, sentence, figures)


def share_evidenced(sentence: str, *figures: str) -> Finding:
    """Conclude that the system's share is evidenced, and that there is more to the control."""
    return Finding(Verdict.PARTIAL, sentence, figures)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, as in "1 entry" and "1,200 entries"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def weighed(findings: Sequence[Finding]) -> Finding:
    """Conclude from several findings on parts of one requirement: PARTIAL at best.

    One contradiction contradicts the whole; parts without data are left out of the sentence.
    """
    figures = tuple(dict.fromkeys(name for each in findings for name in each.figures))
    failed = [each for each in findings if each.verdict is Verdict.FAIL]
    if failed:
        return contradicted(" ".join(each.sentence for each in failed), *figures)
    good = [each for each in findings if each.verdict in (Verdict.PASS, Verdict.PARTIAL)]
    if not good:
        return no_data(" ".join(each.sentence for each in findings), *figures)
    return share_evidenced(" ".join(each.sentence for each in good), *figures)
