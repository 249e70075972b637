"""What is found of marks and labels, from counts that a log can come to."""

import pytest

from audit.controls.queries_marking import explicit_labels, implicit_labels, marked_answers
from audit.controls.verdicts import Verdict


class Counts:
    """The rows of a log's examination, as given."""

    def __init__(self, **queries):
        self._queries = queries

    def row(self, name):
        (row,) = self._queries[name]
        return row

    def rows(self, name):
        return self._queries[name]


def marks(*, without_mark=0, **coverage):
    rows = [{"mark": mark, "choices": choices} for mark, choices in coverage.items()]
    choices = sum(coverage.values()) + without_mark
    record = {"choices": choices, "without_mark": without_mark}
    return Counts(choice_records=[record], mark_coverage=rows)


@pytest.mark.parametrize(
    ("counts", "verdict", "said"),
    [
        (marks(), Verdict.NO_DATA, "No text was answered"),
        (marks(traceable=0), Verdict.NO_DATA, "No text was answered"),
        (marks(traceable=9, without_mark=1), Verdict.FAIL, "Of 10 answers, 1 lack mark evidence"),
        (marks(unmarked=3), Verdict.FAIL, "None of 3 answers bears a mark"),
        (marks(traceable=2, weak=1, unmarked=1), Verdict.PARTIAL, "Of 4 answers, 3 bear a mark"),
        (marks(weak=1), Verdict.PARTIAL, "sure of 0"),
    ],
)
def test_marks_are_evidence_of_the_systems_share_alone(counts, verdict, said):
    finding = marked_answers(counts)
    assert finding.verdict is verdict
    assert said in finding.sentence


@pytest.mark.parametrize(
    ("written", "missing", "answers", "verdict"),
    [
        (0, 0, 4, Verdict.NO_DATA),
        (3, 1, 4, Verdict.FAIL),
        (0, 4, 4, Verdict.FAIL),
        (3, 0, 4, Verdict.PARTIAL),
        (4, 0, 4, Verdict.PASS),
    ],
)
@pytest.mark.parametrize(
    ("query", "kind", "other"),
    [(explicit_labels, "explicit", "implicit"), (implicit_labels, "implicit", "explicit")],
)
def test_one_kind_of_label_is_no_evidence_of_the_other(
    query, kind, other, written, missing, answers, verdict
):
    row = {
        f"{kind}_written": written,
        f"{kind}_missing": missing,
        f"{other}_written": answers - written,
        f"{other}_missing": answers - missing,
        "answers": answers,
    }
    finding = query(Counts(label_records=[row]))
    assert finding.verdict is verdict
    assert kind in finding.sentence
