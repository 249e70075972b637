"""The figures, each one SQL query of the tables in `audit.controls.tables`.

`:start` and `:end` are the period in milliseconds since 1970, its end excluded. Every query
orders its rows, and yields only integers and texts.
"""

# The parts put together are this module's own; every value is bound.
# ruff: noqa: S608

IN_PERIOD = "time_ms >= :start AND time_ms < :end"
COMPLETED = f"phase = 'outcome' AND ending = 'completed' AND {IN_PERIOD}"

_LATENCY_CLASSES = """\
CASE WHEN latency_ms < 100 THEN 0 WHEN latency_ms < 250 THEN 100
     WHEN latency_ms < 500 THEN 250 WHEN latency_ms < 1000 THEN 500
     WHEN latency_ms < 2000 THEN 1000 WHEN latency_ms < 5000 THEN 2000
     WHEN latency_ms < 10000 THEN 5000 WHEN latency_ms < 30000 THEN 10000
     ELSE 30000 END"""

LOG: dict[str, str] = {
    "entries_read": f"""\
SELECT count(*) AS entries, coalesce(min(idx), 0) AS first_idx, coalesce(max(idx), 0) AS last_idx,
       coalesce(min(day), '') AS first_day,
       coalesce(min(time_ms), 0) AS first_ms, coalesce(sum({IN_PERIOD}), 0) AS in_period
  FROM event""",
    "events_by_phase": f"""\
SELECT phase, count(*) AS events FROM event WHERE {IN_PERIOD}
 GROUP BY phase ORDER BY phase""",
    "sequence": f"""\
SELECT coalesce(sum(phase = 'intent'), 0) AS intents,
       coalesce(sum(phase = 'outcome'), 0) AS outcomes,
       coalesce(sum(phase = 'recovered'), 0) AS recovered,
       coalesce(sum(phase IN ('outcome', 'recovered') AND NOT EXISTS (
         SELECT 1 FROM event AS i WHERE i.request_id = e.request_id
            AND i.phase = 'intent' AND i.idx < e.idx)), 0) AS outcomes_without_intent,
       coalesce(sum(phase = 'intent' AND NOT EXISTS (
         SELECT 1 FROM event AS o WHERE o.request_id = e.request_id
            AND o.phase IN ('outcome', 'recovered') AND o.idx > e.idx)), 0) AS open_intents,
       coalesce(sum(phase = 'intent' AND NOT EXISTS (
         SELECT 1 FROM event AS o WHERE o.request_id = e.request_id
            AND o.phase IN ('outcome', 'recovered') AND o.idx > e.idx) AND EXISTS (
         SELECT 1 FROM event AS s WHERE s.operation = 'gateway.start'
            AND s.idx > e.idx)), 0) AS dangling_intents
  FROM event AS e WHERE {IN_PERIOD}""",
    "system_operations": f"""\
SELECT operation, count(*) AS events FROM event WHERE phase = 'system' AND {IN_PERIOD}
 GROUP BY operation ORDER BY operation""",
}

TRAFFIC: dict[str, str] = {
    "daily_volume": f"""\
SELECT day, sum(phase = 'outcome' AND ending = 'completed') AS answered,
       sum(phase = 'denied') AS denied,
       sum(phase = 'recovered' OR (phase = 'outcome' AND ending <> 'completed')) AS failed
  FROM event WHERE phase IN ('outcome', 'recovered', 'denied') AND {IN_PERIOD}
 GROUP BY day ORDER BY day""",
    "endings": f"""\
SELECT ending, count(*) AS requests, sum(completion_tokens) AS completion_tokens
  FROM event WHERE phase IN ('outcome', 'recovered') AND {IN_PERIOD}
 GROUP BY ending ORDER BY ending""",
    "latency": f"""\
SELECT {_LATENCY_CLASSES} AS from_ms, count(*) AS answers
  FROM event WHERE {COMPLETED} AND latency_ms IS NOT NULL
 GROUP BY 1 ORDER BY 1""",
    "latency_summary": f"""\
SELECT count(*) AS answers,
       coalesce(max(CASE WHEN place = (n + 1) / 2 THEN latency_ms END), 0) AS median_ms,
       coalesce(max(CASE WHEN place = (95 * n + 99) / 100 THEN latency_ms END), 0) AS p95_ms
  FROM (SELECT latency_ms, row_number() OVER (ORDER BY latency_ms) AS place,
               count(*) OVER () AS n
          FROM event WHERE {COMPLETED} AND latency_ms IS NOT NULL)""",
    "purposes": f"""\
SELECT purpose, count(*) AS requests FROM event WHERE phase = 'intent' AND {IN_PERIOD}
 GROUP BY purpose ORDER BY purpose""",
}

ACCESS: dict[str, str] = {
    "denials_by_reason": f"""\
SELECT reason, count(*) AS denials, sum(NOT known) AS anonymous
  FROM event WHERE phase = 'denied' AND {IN_PERIOD}
 GROUP BY reason ORDER BY denials DESC, reason""",
    # An operator is named by an account of the machine, which a report must not repeat.
    "access_by_credential": f"""\
SELECT tenant, user_uid,
       CASE user_type WHEN 'operator' THEN 'operator' ELSE user_name END AS name, user_type,
       sum(phase = 'intent') AS requests, sum(phase = 'access') AS queries,
       sum(phase = 'denied') AS denials
  FROM event WHERE phase IN ('intent', 'access', 'denied') AND {IN_PERIOD}
 GROUP BY tenant, user_uid, name, user_type
 ORDER BY requests + queries + denials DESC, tenant, user_uid, name, user_type""",
    "officer_queries": f"""\
SELECT operation, count(*) AS queries FROM event WHERE phase = 'access' AND {IN_PERIOD}
 GROUP BY operation ORDER BY operation""",
    "authentication": f"""\
SELECT coalesce(sum(phase IN ('intent', 'access') AND known), 0) AS admitted,
       coalesce(sum(phase = 'denied' AND reason = 'invalid_api_key'), 0) AS rejected,
       coalesce(sum(phase = 'denied' AND reason = 'insufficient_role'), 0) AS forbidden,
       coalesce(sum(phase = 'outcome' AND ending = 'completed'), 0) AS answered,
       coalesce(sum(phase = 'outcome' AND ending = 'completed' AND NOT known), 0)
         AS answered_unknown,
       coalesce(sum(phase IN ('intent', 'access')), 0) AS requests,
       coalesce(sum(phase IN ('intent', 'access') AND NOT known), 0) AS requests_unknown,
       coalesce(sum(phase IN ('intent', 'access') AND issuer = 'none'), 0) AS without_method
  FROM event WHERE {IN_PERIOD}""",
    "authentication_methods": f"""\
SELECT issuer, count(*) AS requests FROM event
 WHERE phase IN ('intent', 'access') AND {IN_PERIOD}
 GROUP BY issuer ORDER BY issuer""",
    "identity_conflicts": f"""\
SELECT user_uid, count(DISTINCT tenant || '/' || user_name) AS identities
  FROM event WHERE phase IN ('intent', 'access') AND known AND user_type <> 'operator'
   AND {IN_PERIOD}
 GROUP BY user_uid HAVING identities > 1 ORDER BY user_uid""",
    "credential_changes": f"""\
SELECT operation, count(*) AS events FROM event
 WHERE phase = 'system' AND operation LIKE 'credential.%' AND {IN_PERIOD}
 GROUP BY operation ORDER BY operation""",
    "unregistered_credentials": f"""\
SELECT user_uid, count(*) AS requests FROM event AS e
 WHERE phase = 'intent' AND known AND {IN_PERIOD} AND NOT EXISTS (
   SELECT 1 FROM event AS a WHERE a.operation = 'credential.added'
      AND a.detail ->> '$.credential_id' = e.user_uid AND a.idx < e.idx)
 GROUP BY user_uid ORDER BY user_uid""",
    # A request that was let in a moment before the revocation may be recorded a moment after.
    "revoked_then_used": f"""\
SELECT user_uid, count(*) AS requests FROM event AS e
 WHERE phase IN ('intent', 'access') AND {IN_PERIOD} AND EXISTS (
   SELECT 1 FROM event AS r WHERE r.operation = 'credential.revoked'
      AND r.detail ->> '$.credential_id' = e.user_uid
      AND r.idx < e.idx AND r.time_ms + 1000 < e.time_ms)
 GROUP BY user_uid ORDER BY user_uid""",
}
