"""The tables that every figure is a query of, built from a log's entries by SQL alone.

A stranger with the log's `leaf` table (idx, body) runs `TABLES` and then a figure's query in any
SQLite since 3.38 and gets the same rows: this package does nothing else. Columns are the entries'
own fields, docs/formats/report-v1.md names the path of each.
"""

TABLES = """
CREATE TABLE event AS
SELECT idx,
       body ->> '$.time' AS time_ms,
       strftime('%Y-%m-%d', (body ->> '$.time') / 1000, 'unixepoch') AS day,
       body ->> '$.sealgate.phase' AS phase,
       coalesce(body ->> '$.api.operation', 'unspecified') AS operation,
       body ->> '$.api.request.uid' AS request_id,
       coalesce(body ->> '$.metadata.tenant_uid', 'unspecified') AS tenant,
       coalesce(body ->> '$.actor.user.uid', 'anonymous') AS user_uid,
       coalesce(body ->> '$.actor.user.name', 'anonymous') AS user_name,
       coalesce(body ->> '$.actor.user.type', 'anonymous') AS user_type,
       (coalesce(body ->> '$.actor.user.uid', '') NOT IN ('', 'anonymous') AND
        coalesce(body ->> '$.actor.user.type', 'anonymous') <> 'anonymous') AS known,
       coalesce(body ->> '$.actor.session.issuer', 'none') AS issuer,
       coalesce(body ->> '$.sealgate.reason', 'unspecified') AS reason,
       coalesce(body ->> '$.sealgate.ending', 'unknown') AS ending,
       body ->> '$.sealgate.latency_ms' AS latency_ms,
       coalesce(body ->> '$.sealgate.prompt_tokens', 0) AS prompt_tokens,
       coalesce(body ->> '$.sealgate.completion_tokens', 0) AS completion_tokens,
       coalesce(body ->> '$.sealgate.model.id', 'unspecified') AS model_id,
       coalesce(body ->> '$.sealgate.model.digest', 'unspecified') AS model_digest,
       coalesce(body ->> '$.sealgate.model.generation', 0) AS model_generation,
       coalesce(body ->> '$.sealgate.tier', 'unspecified') AS tier,
       coalesce(body ->> '$.sealgate.purpose', 'unspecified') AS purpose,
       coalesce(body ->> '$.sealgate.data_class', 'unclassified') AS data_class,
       coalesce(body ->> '$.sealgate.pseudonym', '') AS pseudonym,
       coalesce(body ->> '$.sealgate.recipient', body ->> '$.sealgate.detail.recipient', '')
         AS recipient,
       CAST(body ->> '$.sealgate.acknowledgement_ms' AS INTEGER) AS acknowledgement_ms,
       body ->> '$.sealgate.label.explicit' AS explicit_label,
       body ->> '$.sealgate.label.implicit' AS implicit_label,
       body ->> '$.sealgate.watermark.scheme' AS scheme,
       coalesce(body -> '$.sealgate.detail', '{}') AS detail
  FROM leaf;
CREATE INDEX event_idx ON event (idx);
CREATE INDEX event_request ON event (request_id, phase, idx);
CREATE INDEX event_operation ON event (operation, idx);

CREATE TABLE choice AS
SELECT event.idx, event.time_ms, event.request_id, event.ending, event.scheme,
       event.tier IN ('local', 'unspecified') AS local,
       each.value ->> '$.trace_id' AS trace_id,
       coalesce(each.value ->> '$.tokens', 0) AS tokens,
       coalesce(each.value ->> '$.mark', 'missing') AS mark,
       coalesce(each.value ->> '$.output_hmac', '') AS output_hmac,
       coalesce(each.value -> '$.sandbox', '{}') AS sandbox
  FROM event JOIN leaf USING (idx), json_each(leaf.body, '$.sealgate.choices') AS each
 WHERE event.phase = 'outcome';
CREATE INDEX choice_idx ON choice (idx);

CREATE TABLE issued AS
SELECT event.request_id, each.value AS trace_id
  FROM event JOIN leaf USING (idx), json_each(leaf.body, '$.sealgate.watermark.trace_ids') AS each
 WHERE event.phase = 'intent';
CREATE INDEX issued_request ON issued (request_id, trace_id);

CREATE TABLE detection AS
SELECT event.idx, event.time_ms,
       coalesce(leaf.body ->> '$.sealgate.detections.detector', 'unspecified') AS detector,
       coalesce(CAST(leaf.body ->> '$.sealgate.detections.recall_milli' AS INTEGER), -1)
         AS recall_milli,
       leaf.body -> '$.sealgate.detections.counts' AS counts
  FROM event JOIN leaf USING (idx)
 WHERE json_type(leaf.body, '$.sealgate.detections') = 'object';
"""
