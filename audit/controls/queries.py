"""The registry of queries that evidence controls: a catalogue's `evidence` names one of these."""

from collections.abc import Callable, Mapping

from audit.controls import (
    queries_access,
    queries_custody,
    queries_log,
    queries_marking,
    queries_operation,
    queries_privacy,
)
from audit.controls.records import Records
from audit.controls.verdicts import Finding

Query = Callable[[Records], Finding]

_ALL: tuple[Query, ...] = (
    queries_access.access_decisions,
    queries_access.authentication,
    queries_access.credential_changes,
    queries_access.credential_management,
    queries_access.login_monitoring,
    queries_access.revoked_credentials,
    queries_access.sessionless_access,
    queries_access.supervised_requests,
    queries_access.unique_actors,
    queries_custody.answer_authentication,
    queries_custody.asset_inventory,
    queries_custody.encryption,
    queries_custody.encryption_at_rest,
    queries_custody.security_of_processing,
    queries_custody.transmission_encryption,
    queries_custody.transmission_integrity,
    queries_log.activity_review,
    queries_log.audit_controls,
    queries_log.availability,
    queries_log.documentation,
    queries_log.evaluations,
    queries_log.logs_kept_six_months,
    queries_log.retention,
    queries_marking.explicit_labels,
    queries_marking.implicit_labels,
    queries_marking.marked_answers,
    queries_operation.agreements,
    queries_operation.backups,
    queries_operation.configuration_changes,
    queries_operation.contingency_tests,
    queries_operation.disposals,
    queries_operation.emergency_access,
    queries_operation.incident_records,
    queries_operation.incidents,
    queries_operation.recoveries,
    queries_privacy.disclosures,
    queries_privacy.identifiers_found,
    queries_privacy.minimum_necessary,
    queries_privacy.processing_records,
    queries_privacy.pseudonyms,
)

QUERIES: Mapping[str, Query] = {query.__name__: query for query in _ALL}
