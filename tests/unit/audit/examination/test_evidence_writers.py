"""Nothing is looked for that nothing writes: every operation and field of a query has a writer."""

import re
from pathlib import Path

import pytest

from audit import anchoring
from audit.controls import queries_log, queries_operation
from audit.controls.records import STATEMENTS

ROOT = Path(__file__).resolve().parents[4]
OPERATION = re.compile(
    r"['\"]((?:budget|content|credential|disclosure|gateway|incident|key|log|model|report|review|routing"
    r"|sandbox|subject)\.[a-z_]+)['\"]"
)


def sources(*packages):
    return {
        path: path.read_text(encoding="utf-8")
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    }


def looked_for():
    """Operations that queries name, in Python and in SQL."""
    read = "\n".join(sources("audit/controls").values()) + "\n".join(STATEMENTS.values())
    return set(OPERATION.findall(read))


def written():
    """Operations that stand as a literal where entries are made, and those of incidents' steps."""
    read = sources("gateway")
    found = {name for text in read.values() for name in OPERATION.findall(text)}
    steps = read[ROOT / "gateway" / "incidents.py"]
    found |= (
        {anchoring.ANCHORED} if "ANCHORED," in read[ROOT / "gateway" / "anchoring.py"] else set()
    )
    return found | {f"incident.{step}" for step in re.findall(r'[A-Z]+ = "([a-z]+)"', steps)}


def test_queries_name_operations():
    assert len(looked_for()) > 15
    assert {"sandbox.killed", "log.anchored", "budget.spent"} <= looked_for()


@pytest.mark.parametrize("operation", sorted(looked_for()))
def test_what_is_looked_for_is_written(operation):
    assert operation in written()


def test_no_query_looks_for_an_operation_by_another_name():
    modules = (queries_log, queries_operation)
    named = {
        each
        for module in modules
        for value in vars(module).values()
        if isinstance(value, tuple)
        for each in value
        if isinstance(each, str) and "." in each and not each.endswith(".create")
    }
    assert named <= looked_for()
