"""What other systems get of the log: OCSF, CSV, FHIR."""

import csv
import io
import json

import pytest

from audit import evidence, exports
from audit.merkle import leaf_hash
from tests.trees import root_of


@pytest.fixture
def filled(log, make):
    log.record(
        make.intent("req_1", pseudonym="ps_1"),
        make.outcome("req_1"),
        make.event(
            "req_2/denied", "chat", {"phase": "denied", "reason": "rate"}, request_id="req_2"
        ),
        make.event("a/access", "audit.search", {"phase": "access", "detail": {}}, request_id="a"),
        make.system("sys_1", detail={"text": "ä\n,\"'"}),
    )
    return log


def exported(log, form):
    return "".join(form(evidence.events(log.engine)))


def test_ocsf_lines_are_the_logs_own_bytes(filled):
    lines = exported(filled, exports.ocsf).encode().split(b"\n")
    assert lines.pop() == b""
    assert root_of(leaf_hash(line) for line in lines).hex() == filled.verify().root


def test_table_has_a_row_for_each_entry(filled):
    rows = list(csv.DictReader(io.StringIO(exported(filled, exports.table))))
    assert [row["phase"] for row in rows] == ["intent", "outcome", "denied", "access", "system"]
    assert rows[0]["pseudonym"] == "ps_1"
    assert rows[0]["time"] == "2026-09-21T14:13:20.000Z"
    assert (rows[2]["decision"], rows[3]["decision"]) == ("rate", "allowed")
    assert tuple(rows[0]) == exports.COLUMNS


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_table_holds_no_formula(log, make, name):
    event = make.system("sys_1")
    event["actor"]["user"]["name"] = name
    log.record(event)
    (row,) = csv.DictReader(io.StringIO(exported(log, exports.table)))
    assert row["actor_name"] == f"'{name}"


def test_bundle_of_an_empty_log_is_a_bundle(log):
    bundle = json.loads(exported(log, exports.fhir))
    assert bundle == {"resourceType": "Bundle", "type": "collection", "entry": []}


def test_bundle_is_valid_fhir(filled):
    models = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is missing")
    document = json.loads(exported(filled, exports.fhir))
    bundle = models.Bundle.model_validate(document)
    assert [each.resource.get_resource_type() for each in bundle.entry] == ["AuditEvent"] * 5
    first = document["entry"][0]["resource"]
    assert first["type"]["code"] == "110100"
    assert first["entity"][1]["role"]["display"] == "Patient"
    assert first["agent"][0]["network"] == {"address": "127.0.0.1", "type": "2"}
    assert len({each["fullUrl"] for each in document["entry"]}) == 5
