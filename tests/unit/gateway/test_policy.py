import datetime as dt
import hashlib

import pytest

from gateway.errors import RequestRefused, SettingsInvalid
from gateway.identity import Principal, Role
from gateway.policy import BUILT_IN, CLASSES, Policy, Rule, Ruling, load

POLICY = b"""
version = 1

[[rule]]
name = "no-research-on-patients"
classes = ["phi", "unclassified"]
purposes = ["research"]
allow = false

[[rule]]
name = "patients-stay-here"
classes = ["phi", "unclassified"]
purposes = ["treatment", "payment", "operations"]
retention_days = 2192

[[rule]]
name = "public-may-leave"
classes = ["public"]
tiers = ["local", "cloud"]
marking = "where possible"
redaction = "none"
label = true

[[baa]]
remote = "cloud-one"
reference = "BAA-2026-07"
expires = 2027-01-31

[[limit]]
tenant = "clinic"
tokens_per_day = 1000

[[limit]]
each = "credential"
requests_per_minute = 60

[[declare]]
tenant = "clinic"
data_class = "internal"

[[declare]]
credential = "cred_phi"
data_class = "phi"
"""
CALLER = Principal("cred_a", "other", "a", Role.CLIENT)
CLINIC = Principal("cred_b", "clinic", "b", Role.CLIENT)
PHI = Principal("cred_phi", "clinic", "c", Role.CLIENT)


def rule(principal=CALLER, *, declared=None, purpose=None, identifying=False, content=POLICY):
    return Policy(content).rule(
        principal, declared=declared, purpose=purpose, identifying=lambda: identifying
    )


def refused(code, **options):
    with pytest.raises(RequestRefused) as error:
        rule(**options)
    assert error.value.code == code
    return error.value


def test_first_rule_that_fits_decides():
    ruling = rule(declared="phi", purpose="treatment")
    assert (ruling.rule.name, ruling.rule.tiers) == ("patients-stay-here", ("local",))
    assert ruling.rule.retention_days == 2192
    assert rule(declared="public").rule.tiers == ("local", "cloud")


def test_what_no_rule_allows_is_refused():
    assert refused("policy_denied", declared="internal").status == 403
    refused("policy_denied", declared="phi")
    assert "no-research" in refused("policy_denied", declared="phi", purpose="research").message


def test_what_nobody_declared_is_treated_as_the_most_sensitive():
    ruling = rule(purpose="treatment")
    assert (ruling.data_class, ruling.rule.name) == ("unclassified", "patients-stay-here")


def test_unknown_words_are_refused():
    refused("invalid_declaration", declared="secret")
    refused("invalid_declaration", declared="public", purpose="curiosity")


def test_identifiers_in_the_text_raise_the_class():
    ruling = rule(declared="public", purpose="treatment", identifying=True)
    assert (ruling.data_class, ruling.raised) == ("phi", True)
    refused("policy_denied", declared="public", identifying=True)


def test_class_is_never_lowered():
    asked = []
    policy = Policy(POLICY)
    for declared in (None, "public", "internal", "phi"):
        ruling = policy.rule(
            PHI, declared=declared, purpose="treatment", identifying=lambda: asked.append(1)
        )
        assert ruling.data_class == "phi"
    assert asked == []
    assert CLASSES.index("phi") > CLASSES.index("internal") > CLASSES.index("public")
    refused("policy_denied", principal=CLINIC, declared="public")


def test_digest_is_of_the_very_bytes():
    assert Policy(POLICY).digest == f"sha256:{hashlib.sha256(POLICY).hexdigest()}"
    assert Policy(POLICY + b"\n").digest != Policy(POLICY).digest
    entry = rule(declared="public").entry()
    assert entry == {
        "digest": Policy(POLICY).digest,
        "rule": "public-may-leave",
        "raised": False,
    }


@pytest.mark.parametrize("data_class", ["phi", "unclassified"])
def test_agreement_ends(data_class):
    ruling = Ruling(data_class, "treatment", Rule("a"), "sha256:", False, Policy(POLICY).file.baa)
    assert ruling.agreed(today=dt.date(2027, 1, 31)) == {"cloud-one"}
    assert ruling.agreed(today=dt.date(2027, 2, 1)) == frozenset()


def test_what_concerns_nobody_needs_no_agreement():
    assert rule(declared="public").agreed(today=dt.date(2027, 2, 1)) is None
    phi = rule(declared="phi", purpose="treatment")
    assert phi.agreed(today=dt.date(2027, 1, 1)) == {"cloud-one"}


def test_limits_are_those_named_then_those_of_each():
    tenant, credential = Policy(POLICY).subjects(CLINIC)
    assert (tenant.name, tenant.allowance.tokens_per_day) == ("tenant:clinic", 1000)
    assert (credential.name, credential.allowance.requests_per_minute) == ("key:cred_b", 60)
    assert Policy(POLICY).subjects(CALLER)[0].allowance.tokens_per_day == 0


def test_without_a_file_the_tiers_alone_decide():
    ruling = load(None).rule(CALLER, declared=None, purpose=None, identifying=lambda: True)
    assert ruling.rule.tiers == ("local", "mobile", "edge", "cloud")
    assert ruling.rule.redaction == "pseudonyms"
    assert load(None).digest == Policy(BUILT_IN).digest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version = 2\n[[rule]]\nname='a'",
        b"version = 1",
        b"version = 1\nrule = []",
        b"version = 1\n[[rule]]\nname='a'\nclases=['phi']",
        b"version = 1\n[[rule]]\nname='a'\nclasses=['secret']",
        b"version = 1\n[[rule]]\nname='a b'",
        b"\xff",
        b"[[rule",
    ],
)
def test_file_that_is_no_policy_is_refused(content):
    with pytest.raises(SettingsInvalid):
        Policy(content)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsInvalid, match="nowhere"):
        load(tmp_path / "nowhere.toml")
