//! Which rejected rows are meant, as conditions of SQL. Pure.

use serde_json::Value;

/// For messages; how each is compared is told below.
pub const KEYS: &str = "tenant_id, entity_id, attribute_id, sqlstate, reason (a pattern of LIKE), durable, rejected_since, \
                        rejected_until";

/// Conditions on the columns of a row `s`, and the texts that stand for their parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct Conditions {
    pub sql: String,
    pub values: Vec<String>,
}

/// `first` is the number of the first parameter. What is wrong with the filter comes out as text.
pub fn conditions(filter: &Value, first: usize) -> Result<Conditions, String> {
    let Value::Object(members) = filter else {
        return Err(format!("it must be an object, not {}", kind(filter)));
    };
    let mut parts = vec!["true".to_owned()];
    let mut values = Vec::new();
    for (key, value) in members {
        let (column, comparison, cast) = match key.as_str() {
            "tenant_id" | "entity_id" => (key.as_str(), "=", "bigint"),
            "attribute_id" => (key.as_str(), "=", "integer"),
            "sqlstate" => (key.as_str(), "=", "text"),
            "reason" => (key.as_str(), "LIKE", "text"),
            "durable" => (key.as_str(), "=", "boolean"),
            "rejected_since" => ("rejected_at", ">=", "timestamptz"),
            "rejected_until" => ("rejected_at", "<", "timestamptz"),
            _ => return Err(format!("there is no key \"{key}\"")),
        };
        let text = match (cast, value) {
            // A row may lack any of these, and that is what null asks for.
            ("bigint" | "integer", Value::Null) => {
                parts.push(format!("s.{column} IS NULL"));
                continue;
            }
            ("bigint", Value::Number(number)) if number.is_i64() => number.to_string(),
            ("integer", Value::Number(number))
                if number
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok()) =>
            {
                number.to_string()
            }
            ("bigint" | "integer", Value::Number(number)) => {
                return Err(format!(
                    "{key} must be a whole number in the range of {cast}, not {number}"
                ));
            }
            ("bigint" | "integer", _) => return Err(wrong(key, "a number", value)),
            ("boolean", Value::Bool(flag)) => flag.to_string(),
            ("boolean", _) => return Err(wrong(key, "a boolean", value)),
            (_, Value::String(text)) => text.clone(),
            _ => return Err(wrong(key, "a string", value)),
        };
        let number = first + values.len();
        parts.push(format!("s.{column} {comparison} ${number}::{cast}"));
        values.push(text);
    }
    Ok(Conditions {
        sql: parts.join(" AND "),
        values,
    })
}

fn wrong(key: &str, wanted: &str, value: &Value) -> String {
    format!("{key} must be {wanted}, not {}", kind(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_key_means_all_rows() {
        let found = conditions(&json!({}), 3).unwrap();
        assert_eq!((found.sql.as_str(), found.values.len()), ("true", 0));
    }

    #[test]
    fn each_key_has_its_comparison_and_its_parameter() {
        let filter = json!({"tenant_id": -7, "attribute_id": null, "reason": "%window%", "durable": true});
        let mut found = conditions(&filter, 4).unwrap();
        let mut parts: Vec<&str> = found.sql.split(" AND ").collect();
        parts.sort();
        assert_eq!(parts[0], "s.attribute_id IS NULL");
        for (number, start) in [
            (1, "s.durable = $"),
            (2, "s.reason LIKE $"),
            (3, "s.tenant_id = $"),
        ] {
            assert!(parts[number].starts_with(start), "{parts:?}");
        }
        for parameter in ["$4::", "$5::", "$6::"] {
            assert!(found.sql.contains(parameter), "{}", found.sql);
        }
        found.values.sort();
        assert_eq!(found.values, ["%window%", "-7", "true"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (filter, named) in [
            (json!({"tenant": 1}), "no key \"tenant\""),
            (
                json!({"tenant_id": "1"}),
                "tenant_id must be a number, not a string",
            ),
            (json!({"tenant_id": 1.5}), "whole number in the range of bigint"),
            (json!({"entity_id": 9223372036854775808u64}), "bigint"),
            (json!({"attribute_id": 2147483648i64}), "integer"),
            (
                json!({"sqlstate": 42704}),
                "sqlstate must be a string, not a number",
            ),
            (json!({"reason": null}), "reason must be a string, not null"),
            (json!({"durable": "t"}), "durable must be a boolean"),
            (json!({"rejected_since": 5}), "rejected_since must be a string"),
            (json!({"entity_id": [1]}), "not an array"),
            (json!([]), "an object, not an array"),
            (json!(null), "an object, not null"),
        ] {
            let fault = conditions(&filter, 1).unwrap_err();
            assert!(fault.contains(named), "{filter}: {fault}");
        }
        for key in KEYS.split(", ").map(|key| key.split(' ').next().unwrap()) {
            let fault = conditions(&json!({ key: {} }), 1).unwrap_err();
            assert!(fault.starts_with(key), "{key} is said to be allowed: {fault}");
        }
    }
}
