CREATE TRIGGER attribute_flags_changed AFTER UPDATE OF is_hot, is_searchable ON @extschema@.attributes
    FOR EACH ROW
    WHEN ((OLD.is_hot, OLD.is_searchable) IS DISTINCT FROM (NEW.is_hot, NEW.is_searchable))
    EXECUTE FUNCTION @extschema@.attribute_flags_changed();
