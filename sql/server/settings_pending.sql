-- Settings that were changed in a file and wait for a restart.

CREATE VIEW @extschema@.settings_pending AS
    SELECT s.name, s.setting AS value_now, s.unit, s.sourcefile AS source_file, s.sourceline AS source_line,
           pg_conf_load_time() AS noticed_at,
           extract(epoch FROM clock_timestamp() - pg_conf_load_time())::double precision AS noticed_seconds,
           'restart the server, or take the change back and SELECT pg_reload_conf();'::text AS remedy
    FROM pg_settings s
    WHERE s.pending_restart;
COMMENT ON VIEW @extschema@.settings_pending IS 'Settings that were changed and take effect only after a restart';
COMMENT ON COLUMN @extschema@.settings_pending.name IS 'the setting';
COMMENT ON COLUMN @extschema@.settings_pending.value_now IS 'what is in effect';
COMMENT ON COLUMN @extschema@.settings_pending.unit IS 'its unit';
COMMENT ON COLUMN @extschema@.settings_pending.source_file IS 'the file that the value in effect came from; NULL: the default, or not allowed to know';
COMMENT ON COLUMN @extschema@.settings_pending.source_line IS 'the line in it';
COMMENT ON COLUMN @extschema@.settings_pending.noticed_at IS 'when the server last read its files: it has waited at least since then';
COMMENT ON COLUMN @extschema@.settings_pending.noticed_seconds IS 'how long ago that is';
COMMENT ON COLUMN @extschema@.settings_pending.remedy IS 'what to do';
GRANT SELECT ON @extschema@.settings_pending TO telemetry_admin, pg_monitor;
