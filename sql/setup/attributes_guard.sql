CREATE TRIGGER attribute_keeps_identity BEFORE UPDATE ON @extschema@.attributes
    FOR EACH ROW
    WHEN ((OLD.attribute_id, OLD.tenant_id, OLD.name, OLD.value_type)
          IS DISTINCT FROM (NEW.attribute_id, NEW.tenant_id, NEW.name, NEW.value_type))
    EXECUTE FUNCTION @extschema@.attribute_keeps_identity();
