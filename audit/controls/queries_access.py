"""Queries on who asked: authentication, roles, and the credentials' lives."""

from collections.abc import Mapping
from typing import Any

from audit.controls.findings import contradicted, counted, evidenced, no_data, share_evidenced
from audit.controls.records import Records
from audit.controls.verdicts import Finding


def authentication(records: Records) -> Finding:
    """Judge whether each answered request has an authenticated asker. 164.312(d)."""
    row = records.row("authentication")
    if row["answered_unknown"]:
        return contradicted(
            f"Of {row['answered']:,} answered requests, {row['answered_unknown']:,} name no "
            "authenticated credential.",
            "authentication",
        )
    if not row["answered"]:
        return no_data("No request was answered in the period.", "authentication")
    return evidenced(
        f"All {row['answered']:,} answered requests name the credential that was verified before "
        f"the answer. Attempts turned away without a valid one: {row['rejected']:,}.",
        "authentication",
        "authentication_methods",
    )


def unique_actors(records: Records) -> Finding:
    """Judge whether each request is tracked to one identity. 164.312(a)(2)(i)."""
    row = records.row("authentication")
    conflicts = records.rows("identity_conflicts")
    if lacking := _anonymous(row):
        return lacking
    if conflicts:
        return contradicted(
            f"Identifiers that stand for more than one name or tenant: {len(conflicts):,}, "
            f"{conflicts[0]['user_uid']} among them.",
            "identity_conflicts",
        )
    if not row["requests"]:
        return _nothing_let_in()
    return evidenced(
        f"Every request let in ({row['requests']:,}) carries the identifier of exactly "
        "one caller. Who holds a credential is recorded only as its name.",
        "authentication",
        "identity_conflicts",
    )


def login_monitoring(records: Records) -> Finding:
    """Judge whether log-in attempts and discrepancies are recorded. 164.308(a)(5)(ii)(C)."""
    row = records.row("authentication")
    if not row["admitted"] + row["rejected"]:
        return no_data("No attempt to authenticate is recorded in the period.", "authentication")
    return evidenced(
        f"Recorded, each with its time: {counted(row['admitted'], 'request')} let in with a valid "
        f"credential, {counted(row['rejected'], 'attempt')} rejected without one.",
        "authentication",
        "denials_by_reason",
    )


def sessionless_access(records: Records) -> Finding:
    """Judge whether each request authenticates for itself. 164.312(a)(2)(iii)."""
    row = records.row("authentication")
    if row["without_method"]:
        return contradicted(
            f"Of {row['requests']:,} requests let in, {row['without_method']:,} name no means of "
            "authentication.",
            "authentication",
        )
    if not row["requests"]:
        return _nothing_let_in()
    methods = ", ".join(each["issuer"] for each in records.rows("authentication_methods"))
    return share_evidenced(
        f"Every request let in ({row['requests']:,}) names its own means of authentication "
        f"({methods}); the interface keeps no session that could stay open.",
        "authentication_methods",
    )


def supervised_requests(records: Records) -> Finding:
    """Judge whether work is attributable to an authorised credential. 164.308(a)(3)(ii)(A)."""
    row = records.row("authentication")
    if lacking := _anonymous(row):
        return lacking
    if not row["requests"]:
        return _nothing_let_in()
    return share_evidenced(
        f"Every request let in ({row['requests']:,}) can be attributed to a credential, its "
        f"tenant and role. Refused as outside the role: {row['forbidden']:,}.",
        "access_by_credential",
    )


def access_decisions(records: Records) -> Finding:
    """Judge whether access was decided, and the process that had it confined.

    164.308(a)(4)(ii)(B) speaks of access to a workstation, transaction, program or process.
    """
    row = records.row("authentication")
    unconfined = records.row("choice_records")["without_sandbox"]
    denials = sum(each["denials"] for each in records.rows("denials_by_reason"))
    if unconfined:
        return contradicted(
            f"Without sandbox attestation: {counted(unconfined, 'answer')} of a local model. That "
            "the process had access to its own request alone is not shown.",
            "choice_records",
        )
    if not row["requests"] + denials:
        return no_data("No decision on access is recorded in the period.", "authentication")
    return share_evidenced(
        f"Recorded: {counted(row['requests'], 'request')} let in and {denials:,} refused, each "
        "refusal with its reason.",
        "access_by_credential",
        "denials_by_reason",
    )


def revoked_credentials(records: Records) -> Finding:
    """Judge whether access ends when it is revoked. 164.308(a)(3)(ii)(C)."""
    used = records.rows("revoked_then_used")
    revoked = _changes(records).get("credential.revoked", 0)
    if used:
        return contradicted(
            f"Used after their revocation: {counted(len(used), 'credential')}, "
            f"{used[0]['user_uid']} among them.",
            "revoked_then_used",
        )
    if not revoked:
        return no_data("No credential was revoked in the period.", "credential_changes")
    return share_evidenced(
        f"Recorded: {counted(revoked, 'revocation')}. No revoked credential was let in afterwards.",
        "credential_changes",
        "revoked_then_used",
    )


def credential_changes(records: Records) -> Finding:
    """Judge whether each right of access was established on record. 164.308(a)(4)(ii)(C)."""
    unregistered = records.rows("unregistered_credentials")
    changes = _changes(records)
    if unregistered:
        return contradicted(
            f"Asked without an entry of being added: {counted(len(unregistered), 'credential')}, "
            f"{unregistered[0]['user_uid']} among them.",
            "unregistered_credentials",
        )
    if not changes:
        return _nothing_changed()
    return share_evidenced(
        f"Recorded: {_listed(changes)}. Every credential that asked was added on record before.",
        "credential_changes",
        "unregistered_credentials",
    )


def credential_management(records: Records) -> Finding:
    """Judge whether credentials are created and changed on record. 164.308(a)(5)(ii)(D)."""
    changes = _changes(records)
    if not changes:
        return _nothing_changed()
    return share_evidenced(f"Recorded: {_listed(changes)}.", "credential_changes")


def _anonymous(row: Mapping[str, Any]) -> Finding | None:
    """Return what contradicts every control on who asked, or None where all are named."""
    if not row["requests_unknown"]:
        return None
    return contradicted(
        f"Of {row['requests']:,} requests let in, {row['requests_unknown']:,} name nobody.",
        "authentication",
    )


def _nothing_let_in() -> Finding:
    return no_data("No request was let in during the period.", "authentication")


def _nothing_changed() -> Finding:
    return no_data("No credential was added or changed in the period.", "credential_changes")


def _changes(records: Records) -> dict[str, int]:
    return {each["operation"]: each["events"] for each in records.rows("credential_changes")}


def _listed(changes: dict[str, int]) -> str:
    return ", ".join(f"{operation}: {number:,}" for operation, number in changes.items())
