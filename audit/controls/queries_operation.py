"""Queries on the gateway's operation: incidents, recoveries, backups, changes.

Several look for operations that only some deployments record. Where none is recorded they
conclude NO_DATA: silence shows neither that a thing was done nor that it was not.
"""

from audit.controls.findings import counted, no_data, share_evidenced
from audit.controls.queries_log import operations
from audit.controls.records import Records
from audit.controls.verdicts import Finding

BACKUPS = ("key.backed_up", "log.sealed")
DRILLS = ("key.restored",)
DISPOSALS = ("content.expired", "key.destroyed", "subject.shredded")
INCIDENTS = ("incident.assessed", "incident.closed", "incident.notified", "incident.opened")
ANSWERING = ("chat.completions.create", "completions.create", "responses.create")
CHANGES = (
    "credential.added",
    "credential.revoked",
    "gateway.start",
    "key.created",
    "key.rotated",
    "model.sealed",
    "report.scheduled",
    "report.unscheduled",
    "routing.drained",
    "routing.resumed",
    "routing.rolled_back",
    "routing.tuned",
)


def incidents(records: Records) -> Finding:
    """Judge whether suspected incidents are identified. 164.308(a)(6)(ii)."""
    endings = {each["ending"]: each["requests"] for each in records.rows("endings")}
    rejected = records.row("authentication")["rejected"]
    killed = operations(records).get("sandbox.killed", 0)
    lost = endings.get("unknown", 0)
    if not killed + lost + rejected:
        return no_data(
            "No killed sandbox, lost outcome or invalid credential is recorded in the period.",
            "system_operations",
            "endings",
            "authentication",
        )
    return share_evidenced(
        f"Identified in the records: {counted(killed, 'killed sandbox', 'killed sandboxes')}, "
        f"{counted(lost, 'request')} whose outcome was lost, "
        f"{counted(rejected, 'attempt')} with an invalid credential.",
        "system_operations",
        "endings",
        "authentication",
    )


def incident_records(records: Records) -> Finding:
    """Judge whether incidents were assessed and notified on record. 164.402, 404, 410."""
    return _recorded(records, INCIDENTS, what="step on an incident", many="steps on incidents")


def agreements(records: Records) -> Finding:
    """Judge whether agreements with who runs a remote are on record. 164.308(b), 164.504(e)."""
    rows = records.rows("agreements")
    sent = [each for each in records.rows("disclosures") if each["operation"] in ANSWERING]
    if not rows and not sent:
        return no_data(
            "No agreement is on record, and no request left this machine.",
            "agreements",
            "disclosures",
        )
    if not rows:
        return no_data(
            "Requests left this machine and no agreement is on record; the classes of data that "
            "need one are kept from a remote without.",
            "agreements",
            "disclosures",
        )
    named = "; ".join(
        f"{each['remote']}: {each['reference']}, to {each['expires']}" for each in rows
    )
    return share_evidenced(
        f"On record at a start of the gateway: {counted(len(rows), 'agreement')} ({named}).",
        "agreements",
    )


def recoveries(records: Records) -> Finding:
    """Judge whether lost work is restored to a known state. 164.308(a)(7)(ii)(B)."""
    recovered = records.row("sequence")["recovered"]
    if not recovered:
        return no_data("No recovery after an interruption is recorded.", "sequence")
    return share_evidenced(
        f"Cut off by an interruption and closed as unknown at the next start: "
        f"{counted(recovered, 'request')}.",
        "sequence",
    )


def emergency_access(records: Records) -> Finding:
    """Judge whether emergency access is on record. 164.312(a)(2)(ii)."""
    purposes = {each["purpose"]: each["requests"] for each in records.rows("purposes")}
    requests = purposes.get("emergency", 0)
    if not requests:
        return no_data("No access for an emergency is recorded in the period.", "purposes")
    return share_evidenced(
        f"Recorded with the purpose of an emergency: {counted(requests, 'request')}.", "purposes"
    )


def backups(records: Records) -> Finding:
    """Judge whether copies were made. 164.308(a)(7)(ii)(A), 164.310(d)(2)(iv)."""
    return _recorded(records, BACKUPS, what="copy of keys or log", many="copies of keys or log")


def contingency_tests(records: Records) -> Finding:
    """Judge whether a restore was tried. 164.308(a)(7)(ii)(D)."""
    return _recorded(records, DRILLS, what="restore", many="restores")


def disposals(records: Records) -> Finding:
    """Judge whether keys were destroyed, and with them what they sealed. 164.310(d)(2)(i)."""
    return _recorded(records, DISPOSALS, what="destruction of a key", many="destructions of keys")


def configuration_changes(records: Records) -> Finding:
    """Judge whether changes of the system are on record. 164.316(b)(2)(iii)."""
    return _recorded(records, CHANGES, what="change of the system", many="changes of the system")


def _recorded(records: Records, wanted: tuple[str, ...], *, what: str, many: str) -> Finding:
    counts = {name: n for name, n in operations(records).items() if name in wanted}
    if not counts:
        return no_data(f"No {what} is recorded in the period.", "system_operations")
    each = ", ".join(f"{name}: {number:,}" for name, number in counts.items())
    return share_evidenced(
        f"{counted(sum(counts.values()), what, many)} recorded: {each}.", "system_operations"
    )
