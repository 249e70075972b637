"""The figures on personal data, and on those who watch over it; see `audit.controls.statements`."""

# The parts put together are this module's own; every value is bound.
# ruff: noqa: S608

from audit.controls.statements import IN_PERIOD

_LOCAL = "tier IN ('local', 'unspecified')"
_DISCLOSED = f"""\
((phase IN ('outcome', 'recovered') AND NOT {_LOCAL}) OR
        (phase = 'access' AND operation LIKE 'disclosure.%')) AND {IN_PERIOD}"""
_ACKNOWLEDGED = f"acknowledgement_ms IS NOT NULL AND {IN_PERIOD}"

PRIVACY: dict[str, str] = {
    "minimum_necessary": f"""\
SELECT count(*) AS requests, coalesce(sum(data_class <> 'unclassified'), 0) AS classified,
       coalesce(sum(purpose <> 'unspecified'), 0) AS purposed,
       coalesce(sum(data_class <> 'unclassified' AND purpose <> 'unspecified'), 0) AS both,
       coalesce(sum(pseudonym <> ''), 0) AS pseudonymous
  FROM event WHERE phase = 'intent' AND {IN_PERIOD}""",
    "data_handling": f"""\
SELECT data_class, purpose, count(*) AS requests FROM event
 WHERE phase = 'intent' AND {IN_PERIOD}
 GROUP BY data_class, purpose ORDER BY data_class, purpose""",
    "data_classes_daily": f"""\
SELECT day, data_class, count(*) AS requests FROM event
 WHERE phase = 'intent' AND {IN_PERIOD}
 GROUP BY day, data_class ORDER BY day, data_class""",
    "detectors": f"""\
SELECT detector, recall_milli, count(*) AS requests FROM detection WHERE {IN_PERIOD}
 GROUP BY detector, recall_milli ORDER BY detector, recall_milli""",
    "identifiers": f"""\
SELECT each.key AS kind, count(*) AS requests, sum(each.value) AS found
  FROM detection, json_each(detection.counts) AS each
 WHERE each.type = 'integer' AND {IN_PERIOD}
 GROUP BY each.key ORDER BY each.key""",
    "disclosure_counts": f"""\
SELECT coalesce(sum(phase IN ('outcome', 'recovered')), 0) AS requests,
       coalesce(sum({_DISCLOSED}), 0) AS disclosed,
       coalesce(sum(recipient = '' AND {_DISCLOSED}), 0) AS unnamed,
       coalesce(sum(pseudonym <> '' AND {_DISCLOSED}), 0) AS pseudonymous
  FROM event WHERE {IN_PERIOD}""",
    "disclosures": f"""\
SELECT operation, tier, recipient, purpose, count(*) AS disclosures,
       min(day) AS first_day, max(day) AS last_day
  FROM event WHERE {_DISCLOSED}
 GROUP BY operation, tier, recipient, purpose ORDER BY operation, tier, recipient, purpose""",
    "budgets": f"""\
SELECT coalesce(detail ->> '$.budget', 'unspecified') AS budget, tenant,
       count(*) AS expenses,
       coalesce(sum(CAST(detail ->> '$.epsilon_micro' AS INTEGER)), 0) AS spent_micro,
       coalesce(max(CAST(detail ->> '$.limit_micro' AS INTEGER)), 0) AS limit_micro
  FROM event WHERE operation = 'budget.spent' AND {IN_PERIOD}
 GROUP BY 1, 2 ORDER BY 1, 2""",
    "budgets_daily": f"""\
SELECT day, coalesce(sum(CAST(detail ->> '$.epsilon_micro' AS INTEGER)), 0) AS spent_micro
  FROM event WHERE operation = 'budget.spent' AND {IN_PERIOD}
 GROUP BY day ORDER BY day""",
    # Of models sealed up to the period's end: one that answers now may have been trained before.
    "training_certificates": """\
SELECT idx, day, coalesce(detail ->> '$.model_id', 'unspecified') AS model_id,
       coalesce(detail ->> '$.model_digest', '') AS model_digest,
       coalesce(detail ->> '$.training_certificate', '') AS certificate,
       coalesce(CAST(detail ->> '$.training.run' AS TEXT), '') AS run,
       coalesce(CAST(detail ->> '$.training.epsilon' AS TEXT), '') AS epsilon,
       coalesce(CAST(detail ->> '$.training.delta' AS TEXT), '') AS delta,
       coalesce(CAST(detail ->> '$.training.relation' AS TEXT), '') AS relation,
       coalesce(CAST(detail ->> '$.training.audit_bound' AS TEXT), '') AS audit_bound,
       coalesce(CAST(detail ->> '$.training.audit_cap' AS TEXT), '') AS audit_cap,
       coalesce(CAST(detail ->> '$.training.audit_control' AS TEXT), '') AS audit_control
  FROM event WHERE operation = 'model.sealed' AND time_ms < :end
   AND json_type(detail, '$.training') = 'object'
 ORDER BY idx""",
    "label_records": f"""\
SELECT count(*) AS answers,
       coalesce(sum(explicit_label = 1), 0) AS explicit_written,
       coalesce(sum(explicit_label = 0), 0) AS explicit_missing,
       coalesce(sum(implicit_label = 1), 0) AS implicit_written,
       coalesce(sum(implicit_label = 0), 0) AS implicit_missing
  FROM event WHERE phase = 'outcome' AND ending = 'completed' AND {IN_PERIOD}""",
}

OVERSIGHT: dict[str, str] = {
    "authentication_daily": f"""\
SELECT day, sum(reason = 'invalid_api_key') AS rejected,
       sum(reason = 'insufficient_role') AS forbidden
  FROM event WHERE phase = 'denied' AND reason IN ('invalid_api_key', 'insufficient_role')
   AND {IN_PERIOD}
 GROUP BY day ORDER BY day""",
    "incident_events": f"""\
SELECT idx, day, operation, coalesce(detail ->> '$.incident', '') AS incident,
       coalesce(detail ->> '$.severity', '') AS severity
  FROM event
 WHERE phase = 'system' AND (operation LIKE 'incident.%' OR operation = 'sandbox.killed')
   AND {IN_PERIOD}
 ORDER BY idx LIMIT 50""",
    "acknowledgement": f"""\
SELECT CASE WHEN acknowledgement_ms < 1 THEN 0 WHEN acknowledgement_ms < 2 THEN 1
            WHEN acknowledgement_ms < 5 THEN 2 WHEN acknowledgement_ms < 10 THEN 5
            WHEN acknowledgement_ms < 25 THEN 10 WHEN acknowledgement_ms < 100 THEN 25
            WHEN acknowledgement_ms < 250 THEN 100 ELSE 250 END AS from_ms,
       count(*) AS entries
  FROM event WHERE {_ACKNOWLEDGED}
 GROUP BY 1 ORDER BY 1""",
    "acknowledgement_summary": f"""\
SELECT count(*) AS entries,
       coalesce(max(CASE WHEN place = (n + 1) / 2 THEN acknowledgement_ms END), 0) AS median_ms,
       coalesce(max(CASE WHEN place = (99 * n + 99) / 100 THEN acknowledgement_ms END), 0)
         AS p99_ms
  FROM (SELECT acknowledgement_ms, row_number() OVER (ORDER BY acknowledgement_ms) AS place,
               count(*) OVER () AS n
          FROM event WHERE {_ACKNOWLEDGED})""",
    "anchors": f"""\
SELECT day, coalesce(detail ->> '$.kind', 'unspecified') AS kind, count(*) AS anchors,
       coalesce(max(CAST(detail ->> '$.lag_ms' AS INTEGER)), 0) AS longest_lag_ms,
       coalesce(max(CAST(detail ->> '$.size' AS INTEGER)), 0) AS size
  FROM event WHERE operation = 'log.anchored' AND {IN_PERIOD}
 GROUP BY day, kind ORDER BY day, kind""",
    # Whoever holds the log can list it all; a report of millions of entries cannot.
    "entries_listed": f"""\
SELECT idx, time_ms, phase, operation, tenant, user_uid,
       CASE phase WHEN 'denied' THEN reason WHEN 'outcome' THEN ending
            WHEN 'recovered' THEN ending ELSE '' END AS result
  FROM event WHERE {IN_PERIOD}
 ORDER BY idx LIMIT 10000""",
}
