"""Queries on what is protected: answers, sealed models, and the connection."""

from ipaddress import ip_address
from typing import Any

from audit.controls.findings import (
    contradicted,
    counted,
    evidenced,
    no_data,
    share_evidenced,
    weighed,
)
from audit.controls.queries_access import access_decisions
from audit.controls.records import Records
from audit.controls.verdicts import Finding

PLAIN = frozenset({"none", "plain", "plaintext"})


def answer_authentication(records: Records) -> Finding:
    """Judge whether an answer's alteration could be noticed. 164.312(c)(2)."""
    row = records.row("choice_records")
    if records.log.problem is not None:
        return contradicted(f"The log does not verify: {records.log.problem}", "log_state")
    if row["without_hmac"] or row["without_mark"] or row["foreign_trace"]:
        return contradicted(
            f"Of {counted(row['choices'], 'answer')}, {row['without_hmac']:,} lack an HMAC, "
            f"{row['without_mark']:,} lack mark evidence and {row['foreign_trace']:,} carry a "
            "trace id that their intent did not issue.",
            "choice_records",
            "broken_choices",
        )
    if not row["choices"]:
        return no_data("No answer was completed in the period.", "choice_records")
    marks = {each["mark"]: each["choices"] for each in records.rows("mark_coverage")}
    return share_evidenced(
        f"Every answer ({row['choices']:,}) has a keyed HMAC in the log, and each text records "
        f"how well its watermark leads back to it: {marks.get('traceable', 0):,} traceable, "
        f"{marks.get('weak', 0):,} weak, {marks.get('unmarked', 0):,} unmarked.",
        "choice_records",
        "mark_coverage",
    )


def encryption_at_rest(records: Records) -> Finding:
    """Judge whether the models that answered were sealed. 164.312(a)(2)(iv)."""
    open_models = _unsealed(records)
    if open_models:
        return contradicted(
            f"Recorded as not sealed: {', '.join(open_models)}.",
            "models_sealed",
            "gateway_starts",
            "system_facts",
        )
    used = records.rows("models_used")
    if not used:
        return no_data("No model was used in the period.", "models_used")
    ciphers = _ciphers(records)
    unknown = sorted({each["model_id"] for each in used if each["model_digest"] not in ciphers})
    if unknown:
        return no_data(
            f"No record says whether these models were sealed: {', '.join(unknown)}.",
            "models_used",
            "models_sealed",
        )
    named = sorted({ciphers[each["model_digest"]] for each in used})
    return share_evidenced(
        f"The seal of each model that was used is on record under its digest "
        f"({', '.join(named)}). The log itself holds no text of prompts or answers.",
        "models_used",
        "models_sealed",
    )


def _unsealed(records: Records) -> list[str]:
    """Return the names of what an entry or a fact says is in plaintext."""
    names = [
        each["model_id"]
        for each in records.rows("models_sealed")
        if not each["sealed"] or each["cipher"].lower() in PLAIN
    ]
    names += [
        f"a model of the start at entry {each['idx']}"
        for each in records.rows("gateway_starts")
        if each["unsealed"]
    ]
    names += [
        each.id
        for each in records.facts.models
        if each.cipher is not None and each.cipher.lower() in PLAIN
    ]
    return sorted(set(names))


def _ciphers(records: Records) -> dict[str, str]:
    """Return the cipher of each sealed model's digest, from entries and from facts."""
    facts = {each.digest: each.cipher for each in records.facts.models}
    entries = {each["model_digest"]: each["cipher"] for each in records.rows("models_sealed")}
    return {digest: cipher for digest, cipher in {**facts, **entries}.items() if digest and cipher}


def transmission_encryption(records: Records) -> Finding:
    """Judge whether the connection to callers was encrypted. 164.312(e)(2)(ii)."""
    return _transmission(records, protects="encrypts")


def transmission_integrity(records: Records) -> Finding:
    """Judge whether the connection to callers detects changes. 164.312(e)(2)(i)."""
    return _transmission(records, protects="authenticates")


def encryption(records: Records) -> Finding:
    """Judge encryption at rest and in transit together. Proposed 164.312(b)."""
    return weighed([encryption_at_rest(records), transmission_encryption(records)])


def security_of_processing(records: Records) -> Finding:
    """Judge the technical measures that records can show. GDPR 32(1)."""
    return weighed(
        [
            encryption_at_rest(records),
            transmission_encryption(records),
            answer_authentication(records),
            access_decisions(records),
        ]
    )


def asset_inventory(records: Records) -> Finding:
    """Judge whether the gateway's own assets are on record. Proposed 164.308(a)(1)."""
    starts, used = records.rows("gateway_starts"), records.rows("models_used")
    if not used:
        return no_data("No model was used in the period.", "models_used")
    return share_evidenced(
        f"On record: {counted(len(used), 'model')} that answered, by digest and generation, and "
        f"{counted(len(starts), 'start')} of the gateway in effect in the period.",
        "models_used",
        "models_sealed",
        "gateway_starts",
    )


def _transmission(records: Records, *, protects: str) -> Finding:
    starts = records.rows("gateway_starts")
    exposed = [each for each in starts if each["tls"] == "no" and not _is_loopback(each["host"])]
    if exposed:
        return contradicted(
            f"The gateway listened on {exposed[0]['host'] or 'an unnamed address'} without TLS "
            f"(entry {exposed[0]['idx']}).",
            "gateway_starts",
        )
    if records.facts.tls is False and records.facts.host and not _is_loopback(records.facts.host):
        return contradicted(
            f"The gateway listens on {records.facts.host} without TLS.", "system_facts"
        )
    if not _asked(records):
        return no_data("No request arrived in the period.", "authentication")
    if not _any_known(starts):
        return no_data(
            "No start of the gateway that names its connection is recorded for the period.",
            "gateway_starts",
        )
    if all(each["tls"] == "yes" for each in starts):
        return evidenced(
            f"TLS {protects} the connection at every start of the gateway ({len(starts):,}) in "
            "effect in the period.",
            "gateway_starts",
        )
    secured = sum(each["tls"] == "yes" for each in starts)
    return share_evidenced(
        f"TLS {protects} the connection at {secured:,} of {counted(len(starts), 'start')} in "
        "effect in the period. Without it the gateway listened on the machine's own loopback "
        "interface, or did not say; what forwards requests to it is not evidenced.",
        "gateway_starts",
    )


def _asked(records: Records) -> bool:
    denials = sum(each["denials"] for each in records.rows("denials_by_reason"))
    return bool(records.row("authentication")["requests"] + denials)


def _any_known(starts: list[dict[str, Any]]) -> bool:
    return any(each["tls"] != "unspecified" for each in starts)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
