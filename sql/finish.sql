-- Last: the data tables. In a restore setup() leaves them to the dump.

DO $finish$
BEGIN
    PERFORM @extschema@.setup();
END
$finish$;
