-- What a DBA does once: a schema of its own, the extension in it, and a role that may write readings, no more.

CREATE SCHEMA telemetry;
CREATE EXTENSION pg_telemetry SCHEMA telemetry;
ALTER DATABASE demo SET search_path = telemetry, public;

CREATE ROLE fleet LOGIN;
GRANT telemetry_writer TO fleet;
