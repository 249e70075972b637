"""The catalogues: HIPAA's against the rule's own matrix, all of them against the queries."""

import json
from collections import Counter
from importlib.resources import files

import pytest

from audit.controls.catalogue import FRAMEWORKS, Kind, load, parse
from audit.controls.errors import CatalogueMalformed, FrameworkUnknown
from audit.controls.queries import QUERIES

# How far records can evidence each paragraph: automatic, partly, organisational.
KINDS = {
    "164.308(a)(1)(ii)": {"A": "O", "B": "O", "C": "O", "D": "P"},
    "164.308": {"a)(2": "O", "a)(6)(ii": "P", "a)(8": "P", "b)(3": "P"},
    "164.308(a)(3)(ii)": {"A": "P", "B": "O", "C": "P"},
    "164.308(a)(4)(ii)": {"A": "O", "B": "P", "C": "P"},
    "164.308(a)(5)(ii)": {"A": "O", "B": "O", "C": "A", "D": "P"},
    "164.308(a)(7)(ii)": {"A": "P", "B": "P", "C": "O", "D": "P", "E": "O"},
    "164.310(a)(2)": {"i": "O", "ii": "O", "iii": "O", "iv": "O"},
    "164.310": {"b": "O", "c": "O"},
    "164.310(d)(2)": {"i": "P", "ii": "O", "iii": "O", "iv": "P"},
    "164.312(a)(2)": {"i": "A", "ii": "P", "iii": "P", "iv": "P"},
    "164.312": {"b": "A", "c)(2": "P", "d": "A"},
    "164.312(e)(2)": {"i": "A", "ii": "A"},
    "164.314(a)(2)": {"i": "O", "ii": "O", "iii": "O"},
    "164.314": {"b)(2": "O"},
    "164.316": {"a": "O", "b)(1": "P"},
    "164.316(b)(2)": {"i": "P", "ii": "P", "iii": "P"},
    "164": {"402(Breach)(2": "P", "412": "O"},
    "164.404": {"a": "O", "b": "O", "c": "P", "d": "O"},
    "164.406": {"a": "O", "b": "O", "c": "O"},
    "164.408": {"a": "O", "b": "O", "c": "O"},
    "164.410": {"a": "O", "b": "O", "c": "P"},
    "164.414": {"a": "O", "b": "P"},
    "164.502": {"b": "P"},
    "164.514": {"b)(1": "O", "b)(2": "P", "c": "P"},
    "164.514(d)": {"2": "P", "3": "P", "4": "O", "5": "O"},
    "164.528": {"a": "O", "b": "P", "c": "O", "d": "P"},
}
EXPECTED = {
    (
        f"164.{paragraph}" + ")" * (paragraph != "412")
        if section == "164"
        else f"{section}({paragraph})"
    ): {"A": Kind.AUTOMATIC, "P": Kind.PARTIAL, "O": Kind.ORGANISATIONAL}[kind]
    for section, paragraphs in KINDS.items()
    for paragraph, kind in paragraphs.items()
}
# Standards of Appendix A without a specification, which carry its (R) themselves.
REQUIRED_STANDARDS = {
    "164.308(a)(2)", "164.308(a)(8)", "164.310(b)", "164.310(c)", "164.312(b)", "164.312(d)",
}  # fmt: skip
# The only named specification that Appendix A leaves without (R) or (A).
BLANK = "164.308(a)(3)(ii)(B)"
MATRIX = ("164.308", "164.310", "164.312")


@pytest.fixture(scope="module")
def hipaa():
    return load("hipaa")


@pytest.fixture
def document():
    return json.loads((files("audit.controls") / "hipaa.json").read_text(encoding="utf-8"))


def test_kinds_are_those_that_were_decided(hipaa):
    assert {each.id: each.kind for each in hipaa.controls} == EXPECTED
    assert len(hipaa.controls) == 80
    assert sum(each.section < "164.4" for each in hipaa.controls) == 51


def test_designations_count_as_the_sections_do(hipaa):
    counts = Counter(each.designation for each in hipaa.controls if each.section in MATRIX)
    assert counts == {"required": 14, "addressable": 22, "standard": 6}


def test_designations_count_as_appendix_a_does(hipaa):
    listed = [each for each in hipaa.controls if each.section in MATRIX]
    required = {each.id for each in listed if each.designation == "required"}
    addressable = {each.id for each in listed if each.designation == "addressable"}
    assert {each.id for each in listed if each.designation == "standard"} == REQUIRED_STANDARDS
    assert len(required | REQUIRED_STANDARDS) == 20
    assert len(addressable - {BLANK}) == 21
    assert BLANK in addressable


def test_matrix_has_eighteen_standards(hipaa):
    assert sum(each.section in MATRIX for each in hipaa.standards) == 18


def test_every_named_query_exists_and_every_query_is_named():
    named = {each.evidence for name in FRAMEWORKS for each in load(name).controls}
    assert named - {None} == set(QUERIES)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_paragraph_has_source_edition_and_its_query_or_none(framework):
    catalogue = load(framework)
    assert catalogue.framework == framework
    assert catalogue.limits
    for each in catalogue.controls:
        assert each.source
        assert each.revised
        assert (each.evidence is None) is (each.kind is Kind.ORGANISATIONAL)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_data_files_are_one_catalogue_each_and_none_is_forgotten(framework):
    names = {each.name for each in files("audit.controls").iterdir() if each.name.endswith("json")}
    assert names == {f"{name}.json" for name in FRAMEWORKS}
    assert load(framework).title in (files("audit.controls") / f"{framework}.json").read_text(
        "utf-8"
    )


def test_kinds_of_the_other_rules_are_those_that_were_decided():
    kinds = {each.id: each.kind for name in FRAMEWORKS for each in load(name).controls}
    automatic = {"AI-Act-19(1)", "AI-Act-26(6)", "CN-Label-4", "CN-Label-5", "CN-Label-9",
                 "GB-45438"}  # fmt: skip
    partial = {"AI-Act-12(1)", "AI-Act-50(2)", "GDPR-30(1)", "GDPR-32(1)"}
    assert {kinds[each] for each in automatic} == {Kind.AUTOMATIC}
    assert {kinds[each] for each in partial} == {Kind.PARTIAL}


def test_proposal_says_that_it_is_no_law():
    proposal = load("hipaa-2025")
    assert "proposal" in proposal.title
    assert any("not law" in each for each in proposal.limits)
    assert Kind.AUTOMATIC not in {each.kind for each in proposal.controls}


def test_sources_name_the_section_they_are_cited_for(hipaa):
    for each in (*hipaa.controls, *hipaa.standards):
        assert each.id.startswith(each.section)
        assert each.source.endswith(f"section={each.section}")


def test_unknown_framework_is_refused_by_name():
    with pytest.raises(FrameworkUnknown, match="soc2"):
        load("soc2")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda d: d.update(format="sealgate/controls/v0"),
        lambda d: d["controls"].append(d["controls"][0]),
        lambda d: d["controls"][0].update(standard="164.999"),
        lambda d: d["controls"][0].update(evidence="authentication"),
        lambda d: d["controls"][0].update(kind="automatic"),
        lambda d: d["controls"][3].update(remains=None),
        lambda d: d["controls"][0].update(kind="likely"),
        lambda d: d["controls"][0].pop("title"),
    ],
    ids=["format", "twice", "standard", "evidence", "kind", "remains", "unknown kind", "field"],
)
def test_malformed_catalogue_is_refused(document, break_it):
    break_it(document)
    with pytest.raises(CatalogueMalformed):
        parse(document)
