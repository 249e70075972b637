"""A report's summary as OSCAL assessment results (NIST OSCAL 1.2.1), for programs of auditors.

The same statements in another form, and a function of the summary alone: so the two cannot
disagree without it showing. OSCAL knows only satisfied and not satisfied; this system's five
verdicts stand beside it as a property, and only PASS counts as satisfied.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any

import rfc8785

from audit.controls.verdicts import MEANINGS, Verdict

OSCAL_VERSION = "1.2.1"
# A name of ours for what OSCAL has no name for; nothing needs to be found there.
NAMESPACE = "https://sealgate.dev/ns/oscal"
_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
# ObjectiveStatus: pass, fail and other are the reasons that OSCAL defines.
_REASONS = {Verdict.PASS: "pass", Verdict.FAIL: "fail"}

Part = dict[str, Any]


def assessment_results(summary: Mapping[str, Any]) -> Part:
    """Return a report's summary as an OSCAL assessment-results document."""
    identify = _Identifiers(summary)
    return {
        "assessment-results": {
            "uuid": identify("document"),
            "metadata": _metadata(summary),
            "import-ap": {"href": f"#{identify('plan')}"},
            "results": [_result(summary, identify)],
            "back-matter": {"resources": [_plan(summary, identify)]},
        }
    }


def control_token(framework: str, control: str) -> str:
    """Return a control's id as an OSCAL token: hipaa-164.312.a.2.i for 164.312(a)(2)(i)."""
    return f"{framework}-{re.sub(r'[^0-9A-Za-z]+', '.', control).strip('.')}"


class _Identifiers:
    """UUIDs that follow from the summary: the same report has the same ones."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self._report = hashlib.sha256(rfc8785.dumps(dict(summary))).hexdigest()

    def __call__(self, *name: str) -> str:
        return str(uuid.uuid5(_UUIDS, "/".join((self._report, *name))))


def _metadata(summary: Mapping[str, Any]) -> Part:
    return {
        "title": f"{summary['title']}: evidence report",
        "last-modified": summary["generated"],
        "version": summary["generated"],
        "oscal-version": OSCAL_VERSION,
        "props": [_property("generator", summary["generator"])],
    }


def _plan(summary: Mapping[str, Any], identify: _Identifiers) -> Part:
    return {
        "uuid": identify("plan"),
        "title": f"{summary['title']} ({summary['citation']})",
        "description": (
            f"Edition: {summary['edition']}. The examination runs the query of each observation "
            "over the log's entries of the period and judges each control by what it finds."
        ),
    }


def _result(summary: Mapping[str, Any], identify: _Identifiers) -> Part:
    # Sorted, since canonical JSON keeps no order of members: read back, it must be the same.
    framework, findings = summary["framework"], sorted(summary["findings"].items())
    controls = [{"control-id": control_token(framework, name)} for name, _ in findings]
    return {
        "uuid": identify("result"),
        "title": f"{summary['title']}, {summary['period']['start']} to {summary['period']['end']}",
        "description": (
            "What the gateway's own records show on each paragraph of the rule. Evidence for an "
            "assessment, not a statement that anybody complies with a law."
        ),
        "start": summary["period"]["start"],
        "end": summary["period"]["end"],
        "props": [_property(name, value) for name, value in _log(summary["log"])],
        "reviewed-controls": {"control-selections": [{"include-controls": controls}]},
        "observations": [
            _observation(name, figure, summary, identify)
            for name, figure in sorted(summary["figures"].items())
        ],
        "findings": [_finding(name, finding, framework, identify) for name, finding in findings],
    }


def _log(log: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = [
        ("log-origin", log["origin"]),
        ("log-size", str(log["size"])),
        ("log-root", log["root"]),
        ("log-verified", _word(log["verified"])),
        ("log-anchored", _word(log["anchored"])),
        ("log-problem", log["problem"] or ""),
    ]
    return [(name, value) for name, value in named if value.strip()]


def _observation(
    name: str, figure: Mapping[str, Any], summary: Mapping[str, Any], identify: _Identifiers
) -> Part:
    return {
        "uuid": identify("figure", name),
        "title": name,
        "description": figure["query"],
        "methods": ["EXAMINE"],
        "relevant-evidence": [
            {
                "description": "The query's result over the log's entries of the period.",
                "props": [_property("sha-256", figure["sha256"])],
            }
        ],
        "collected": summary["generated"],
    }


def _finding(name: str, finding: Mapping[str, Any], framework: str, identify: _Identifiers) -> Part:
    verdict = Verdict(finding["verdict"])
    part: Part = {
        "uuid": identify("control", name),
        "title": f"{name} {finding['title']}",
        "description": finding["sentence"],
        "target": {
            "type": "objective-id",
            "target-id": control_token(framework, name),
            "props": [_property("verdict", verdict.value)],
            "status": _status(verdict, finding["remains"]),
        },
    }
    if finding["figures"]:
        part["related-observations"] = [
            {"observation-uuid": identify("figure", each)} for each in finding["figures"]
        ]
    return part


def _status(verdict: Verdict, remains: str | None) -> Part:
    left = f" Not shown: {remains}." if remains else ""
    return {
        "state": "satisfied" if verdict is Verdict.PASS else "not-satisfied",
        "reason": _REASONS.get(verdict, "other"),
        "remarks": f"{MEANINGS[verdict]}{left}",
    }


def _property(name: str, value: str) -> Part:
    # OSCAL's values have no line breaks, and no space at either end.
    return {"name": name, "ns": NAMESPACE, "value": " ".join(value.split())}


def _word(truth: object) -> str:
    return "yes" if truth else "no"
