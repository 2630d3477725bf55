//! What kind of value an attribute has. Pure.

/// What the dictionary says about values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Number,
    Integer,
    Boolean,
    Timestamp,
    Text,
    Json,
}

impl ValueType {
    pub const ALL: [ValueType; 6] = [
        ValueType::Number,
        ValueType::Integer,
        ValueType::Boolean,
        ValueType::Timestamp,
        ValueType::Text,
        ValueType::Json,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ValueType::Number => "number",
            ValueType::Integer => "integer",
            ValueType::Boolean => "boolean",
            ValueType::Timestamp => "timestamp",
            ValueType::Text => "text",
            ValueType::Json => "json",
        }
    }

    pub fn named(name: &str) -> Option<ValueType> {
        Self::ALL.into_iter().find(|value_type| value_type.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_their_names() {
        for value_type in ValueType::ALL {
            assert_eq!(ValueType::named(value_type.name()), Some(value_type));
        }
        assert_eq!(ValueType::named("decimal"), None);
    }
}
