CREATE TABLE @extschema@.attributes (
    attribute_id integer GENERATED ALWAYS AS IDENTITY,
    tenant_id bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    value_type text NOT NULL,
    unit text,
    is_hot boolean NOT NULL DEFAULT false,
    is_searchable boolean NOT NULL DEFAULT false,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT attributes_pkey PRIMARY KEY (attribute_id),
    CONSTRAINT attributes_tenant_id_name_key UNIQUE (tenant_id, name),
    CONSTRAINT attributes_tenant_id_check CHECK (tenant_id >= 0),
    CONSTRAINT attributes_name_check CHECK (octet_length(name) BETWEEN 1 AND 63 AND name !~ '[[:cntrl:]]'),
    CONSTRAINT attributes_value_type_check
        CHECK (value_type IN ('number', 'integer', 'boolean', 'timestamp', 'text', 'json')),
    CONSTRAINT attributes_searchable_is_hot_check CHECK (is_hot OR NOT is_searchable)
);
COMMENT ON TABLE @extschema@.attributes IS 'The dictionary of attributes: one row says the id, name and type of a kind of reading';
COMMENT ON COLUMN @extschema@.attributes.attribute_id IS 'unique in the whole database, so that a fact needs no more to be understood';
COMMENT ON COLUMN @extschema@.attributes.tenant_id IS 'the tenant it belongs to; 0: shared by all. A tenant''s own name hides a shared one';
COMMENT ON COLUMN @extschema@.attributes.name IS 'at most 63 bytes, no control characters; cannot change, it is a key in documents';
COMMENT ON COLUMN @extschema@.attributes.value_type IS
    'number uses value_num; integer, boolean (0/1) and timestamp (microseconds since 1970) use value_int; text and json use value_text';
COMMENT ON COLUMN @extschema@.attributes.unit IS 'unit of measure, for people';
COMMENT ON COLUMN @extschema@.attributes.is_hot IS 'kept in entity_jsonb';
COMMENT ON COLUMN @extschema@.attributes.is_searchable IS 'hot, and entities are searched by it';
COMMENT ON COLUMN @extschema@.attributes.description IS 'what it means, for people';
COMMENT ON COLUMN @extschema@.attributes.created_at IS 'when it was registered';
GRANT SELECT ON @extschema@.attributes TO telemetry_writer, telemetry_reader, telemetry_admin;
GRANT INSERT (tenant_id, name, value_type, unit, is_hot, is_searchable, description)
    ON @extschema@.attributes TO telemetry_writer, telemetry_admin;
GRANT UPDATE (unit, is_hot, is_searchable, description) ON @extschema@.attributes TO telemetry_admin;
