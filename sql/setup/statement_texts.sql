CREATE TABLE @extschema@.statement_texts (
    queryid bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    query text,
    CONSTRAINT statement_texts_pkey PRIMARY KEY (queryid)
);
COMMENT ON TABLE @extschema@.statement_texts IS
    'Texts of the statements in statement_samples, once each';
COMMENT ON COLUMN @extschema@.statement_texts.queryid IS 'as in pg_stat_statements';
COMMENT ON COLUMN @extschema@.statement_texts.first_seen_at IS 'when it was first among the samples';
COMMENT ON COLUMN @extschema@.statement_texts.last_seen_at IS 'when it last was, to the day';
COMMENT ON COLUMN @extschema@.statement_texts.query IS 'its text as pg_stat_statements has it, up to 4,000 characters; not of statements with a password';
GRANT SELECT ON @extschema@.statement_texts TO pg_read_all_stats;
