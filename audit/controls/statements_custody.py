"""The figures on models, sandboxes, marks and keys; see `audit.controls.statements`."""

# The parts put together are this module's own; every value is bound.
# ruff: noqa: S608

from audit.controls.statements import IN_PERIOD

_CHOICES = f"ending = 'completed' AND {IN_PERIOD}"

CUSTODY: dict[str, str] = {
    "models_used": f"""\
SELECT model_id, model_digest, model_generation, tier, count(*) AS requests,
       sum(ending = 'completed') AS answered, sum(prompt_tokens) AS prompt_tokens,
       sum(completion_tokens) AS completion_tokens
  FROM event WHERE phase = 'outcome' AND {IN_PERIOD}
 GROUP BY model_id, model_digest, model_generation, tier
 ORDER BY model_id, model_digest, model_generation, tier""",
    "models_sealed": """\
SELECT idx, day, coalesce(detail ->> '$.model_id', 'unspecified') AS model_id,
       coalesce(detail ->> '$.model_digest', '') AS model_digest,
       coalesce(detail ->> '$.generation', 0) AS generation,
       coalesce(detail ->> '$.cipher', '') AS cipher,
       coalesce(detail ->> '$.sealed', 1) AS sealed
  FROM event WHERE operation = 'model.sealed' AND time_ms < :end ORDER BY idx""",
    "gateway_starts": """\
SELECT idx, day, coalesce(detail ->> '$.host', '') AS host,
       CASE json_type(detail, '$.tls') WHEN 'true' THEN 'yes' WHEN 'false' THEN 'no'
            ELSE 'unspecified' END AS tls,
       (SELECT count(*) FROM json_each(detail, '$.models') AS m
         WHERE m.type = 'object' AND json_extract(m.value, '$.sealed') = 0) AS unsealed
  FROM event
 WHERE operation = 'gateway.start' AND time_ms < :end AND idx >= coalesce(
   (SELECT max(idx) FROM event WHERE operation = 'gateway.start' AND time_ms < :start), 0)
 ORDER BY idx""",
    "agreements": """\
SELECT DISTINCT a.value ->> '$.remote' AS remote, a.value ->> '$.reference' AS reference,
       a.value ->> '$.expires' AS expires
  FROM event, json_each(event.detail, '$.agreements') AS a
 WHERE event.operation = 'gateway.start' AND a.type = 'object' AND event.time_ms < :end
   AND event.idx >= coalesce(
   (SELECT max(idx) FROM event WHERE operation = 'gateway.start' AND time_ms < :start), 0)
 ORDER BY 1, 2, 3""",
    "key_events": f"""\
SELECT operation, coalesce(detail ->> '$.name', detail ->> '$.purpose', 'unspecified') AS name,
       coalesce(detail ->> '$.epoch', 0) AS epoch, count(*) AS events
  FROM event WHERE phase = 'system' AND operation LIKE 'key.%' AND {IN_PERIOD}
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
}

ANSWERS: dict[str, str] = {
    # A vector has no words to mark: its answer counts as a record, not towards the coverage.
    "mark_coverage": f"""\
SELECT mark, count(*) AS choices, sum(tokens) AS tokens FROM choice AS c
 WHERE {_CHOICES} AND NOT EXISTS (SELECT 1 FROM event AS e
   WHERE e.idx = c.idx AND e.operation = 'embeddings.create')
 GROUP BY mark ORDER BY mark""",
    # A local tier marks and confines always; another tier marks where the entry declares a scheme.
    "choice_records": f"""\
SELECT count(*) AS choices,
       coalesce(sum(sandbox IN ('{{}}', 'null') AND local), 0) AS without_sandbox,
       coalesce(sum(output_hmac = ''), 0) AS without_hmac,
       coalesce(sum(mark NOT IN ('traceable', 'weak', 'unmarked')
                    AND (local OR scheme IS NOT NULL)), 0) AS without_mark,
       coalesce(sum(trace_id IS NOT NULL AND NOT EXISTS (
         SELECT 1 FROM issued AS i WHERE i.request_id = c.request_id
            AND i.trace_id = c.trace_id)), 0) AS foreign_trace
  FROM choice AS c WHERE {_CHOICES}""",
    "answers_without_choices": f"""\
SELECT count(*) AS answers FROM event AS e
 WHERE phase = 'outcome' AND {_CHOICES}
   AND NOT EXISTS (SELECT 1 FROM choice AS c WHERE c.idx = e.idx)""",
    "broken_choices": f"""\
SELECT DISTINCT idx, request_id FROM choice AS c
 WHERE {_CHOICES} AND ((sandbox IN ('{{}}', 'null') AND local) OR output_hmac = ''
    OR (mark NOT IN ('traceable', 'weak', 'unmarked') AND (local OR scheme IS NOT NULL))
    OR (trace_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM issued AS i
         WHERE i.request_id = c.request_id AND i.trace_id = c.trace_id)))
 ORDER BY idx LIMIT 5""",
    "sandbox_attestation": f"""\
SELECT each.key AS name, count(*) AS choices, count(DISTINCT each.value) AS values_seen,
       CASE WHEN count(DISTINCT each.type || each.value) > 1 THEN ''
            WHEN each.type IN ('true', 'false', 'null') THEN each.type
            ELSE CAST(min(each.value) AS TEXT) END AS value
  FROM choice, json_each(choice.sandbox) AS each WHERE {_CHOICES}
 GROUP BY each.key ORDER BY each.key""",
}
