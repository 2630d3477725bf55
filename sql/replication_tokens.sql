-- Read your own writes on another node.

CREATE FUNCTION @extschema@.commit_token()
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'commit_token_wrapper';
COMMENT ON FUNCTION @extschema@.commit_token() IS
    'A token for token_reached() on another node: in a transaction that has written, of that transaction; otherwise of all that is committed';
REVOKE ALL ON FUNCTION @extschema@.commit_token() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.commit_token() TO telemetry_writer, telemetry_reader, telemetry_admin;

CREATE FUNCTION @extschema@.token_reached(token text)
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'token_reached_wrapper';
COMMENT ON FUNCTION @extschema@.token_reached(text) IS
    'Whether the next statement on this node sees what the token stands for; refuses tokens that it can never reach';
REVOKE ALL ON FUNCTION @extschema@.token_reached(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.token_reached(text) TO telemetry_writer, telemetry_reader, telemetry_admin;

-- No search_path is pinned: a procedure with SET could not end its transaction. It runs no SQL.
CREATE PROCEDURE @extschema@.wait_for_token(
        token text, timeout interval DEFAULT '1 second', INOUT reached boolean DEFAULT NULL)
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'wait_for_token_wrapper';
COMMENT ON PROCEDURE @extschema@.wait_for_token(text, interval, boolean) IS
    'Waits until token_reached(token), for at most the timeout, and says whether it is; holds no snapshot meanwhile; refuses to run in a transaction block';
REVOKE ALL ON PROCEDURE @extschema@.wait_for_token(text, interval, boolean) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.wait_for_token(text, interval, boolean)
    TO telemetry_writer, telemetry_reader, telemetry_admin;
