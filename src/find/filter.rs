//! What filters say, and which values satisfy them. Pure.
//!
//! `{"attr": value}` asks for equality, `{"attr": {"gte": 1, "lt": 5}}` for a range; all operators of an attribute and all
//! attributes must agree. Numbers are ordered as the server orders double precision: NaN above all else, and equal to itself.
//! Texts are ordered by their bytes.

use std::cmp::Ordering;

use super::fault::Fault;
use crate::ingest::fault::shown;
use crate::ingest::value::{Json, Typed, typed};
use crate::staging::judge::ValueType;

/// Attributes of one search.
pub const MOST_ATTRIBUTES: usize = 64;

/// Values of all its "in" together.
pub const MOST_VALUES: usize = 10_000;

/// A document of filters, taken apart.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    Null,
    Scalar(Json<'a>),
    List(Vec<Node<'a>>),
    Object(Vec<(&'a str, Node<'a>)>),
}

impl Node<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Scalar(json) => json.kind(),
            Node::List(_) => "an array",
            Node::Object(_) => "an object",
        }
    }
}

/// A value as it is stored and compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Whole(i64),
    Text(String),
}

impl Value {
    /// None for what cannot be compared.
    pub fn of(typed: Typed) -> Option<Value> {
        match typed {
            Typed::Number(value) => Some(Value::Number(value)),
            Typed::Whole(value) => Some(Value::Whole(value)),
            Typed::Text(text) => Some(Value::Text(text.into_owned())),
            Typed::Nested => None,
        }
    }

    pub fn order(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Number(left), Value::Number(right)) => left
                .partial_cmp(right)
                .unwrap_or_else(|| left.is_nan().cmp(&right.is_nan())),
            (Value::Whole(left), Value::Whole(right)) => left.cmp(right),
            (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
            // Of one attribute all values have one type.
            _ => Ordering::Less,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    pub value: Value,
    pub included: bool,
}

/// What the value of one attribute must be. Without any condition it must only be there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Test {
    /// In order, each once.
    pub one_of: Option<Vec<Value>>,
    pub low: Option<Bound>,
    pub high: Option<Bound>,
}

impl Test {
    pub fn accepts(&self, value: &Value) -> bool {
        let above = |bound: &Bound| match value.order(&bound.value) {
            Ordering::Greater => true,
            Ordering::Equal => bound.included,
            Ordering::Less => false,
        };
        let below = |bound: &Bound| match value.order(&bound.value) {
            Ordering::Less => true,
            Ordering::Equal => bound.included,
            Ordering::Greater => false,
        };
        self.one_of
            .as_ref()
            .is_none_or(|values| values.binary_search_by(|one| one.order(value)).is_ok())
            && self.low.as_ref().is_none_or(above)
            && self.high.as_ref().is_none_or(below)
    }

    pub fn asks_for_existence_alone(&self) -> bool {
        self.one_of.is_none() && self.low.is_none() && self.high.is_none()
    }

    /// No value satisfies it.
    pub fn is_impossible(&self) -> bool {
        if self.one_of.as_ref().is_some_and(Vec::is_empty) {
            return true;
        }
        let (Some(low), Some(high)) = (&self.low, &self.high) else {
            return false;
        };
        match low.value.order(&high.value) {
            Ordering::Greater => true,
            Ordering::Equal => !(low.included && high.included),
            Ordering::Less => false,
        }
    }

    fn only(&mut self, mut values: Vec<Value>) {
        values.sort_by(Value::order);
        values.dedup_by(|left, right| left.order(right) == Ordering::Equal);
        if let Some(before) = &self.one_of {
            values.retain(|value| before.binary_search_by(|one| one.order(value)).is_ok());
        }
        self.one_of = Some(values);
    }

    fn above(&mut self, bound: Bound) {
        let narrower = self
            .low
            .as_ref()
            .is_none_or(|before| match bound.value.order(&before.value) {
                Ordering::Greater => true,
                Ordering::Equal => before.included,
                Ordering::Less => false,
            });
        if narrower {
            self.low = Some(bound);
        }
    }

    fn below(&mut self, bound: Bound) {
        let narrower = self
            .high
            .as_ref()
            .is_none_or(|before| match bound.value.order(&before.value) {
                Ordering::Less => true,
                Ordering::Equal => before.included,
                Ordering::Greater => false,
            });
        if narrower {
            self.high = Some(bound);
        }
    }
}

/// The attributes that are asked about, and what is asked of each.
pub fn members<'a>(filters: Node<'a>) -> Result<Vec<(&'a str, Node<'a>)>, Fault> {
    let kind = filters.kind();
    let Node::Object(members) = filters else {
        return Err(Fault::Shape(format!("must be a JSON object, not {kind}")));
    };
    if members.is_empty() {
        return Err(Fault::Shape("there is none".into()));
    }
    if members.len() > MOST_ATTRIBUTES {
        return Err(Fault::TooMany {
            what: "attributes in filters",
            count: members.len(),
            most: MOST_ATTRIBUTES,
        });
    }
    Ok(members)
}

/// What is asked of one attribute. `values` counts those of all "in".
pub fn test(name: &str, value_type: ValueType, asked: &Node, values: &mut usize) -> Result<Test, Fault> {
    let reader = Reader { name, value_type };
    let mut test = Test::default();
    match asked {
        Node::Object(operators) => {
            if operators.is_empty() {
                return Err(reader.shape("no operator"));
            }
            for (operator, operand) in operators {
                reader.operator(&mut test, operator, operand, values)?;
            }
        }
        Node::List(_) => return Err(reader.shape("an array says nothing; write {\"in\": […]}")),
        Node::Null => return Err(reader.shape("null says nothing: what has no value is not stored")),
        operand => test.only(vec![reader.value(operand)?]),
    }
    Ok(test)
}

struct Reader<'a> {
    name: &'a str,
    value_type: ValueType,
}

impl Reader<'_> {
    fn operator(
        &self,
        test: &mut Test,
        operator: &str,
        operand: &Node,
        values: &mut usize,
    ) -> Result<(), Fault> {
        let bound = |operand: &Node, included: bool| -> Result<Bound, Fault> {
            self.ordered(operator)?;
            Ok(Bound {
                value: self.value(operand)?,
                included,
            })
        };
        match (operator, operand) {
            ("eq", operand) => test.only(vec![self.value(operand)?]),
            ("gt", operand) => test.above(bound(operand, false)?),
            ("gte", operand) => test.above(bound(operand, true)?),
            ("lt", operand) => test.below(bound(operand, false)?),
            ("lte", operand) => test.below(bound(operand, true)?),
            ("between", Node::List(ends)) if ends.len() == 2 => {
                test.above(bound(&ends[0], true)?);
                test.below(bound(&ends[1], true)?);
            }
            ("between", _) => return Err(self.shape("\"between\" takes an array of two values")),
            ("in", Node::List(list)) => {
                *values += list.len();
                if *values > MOST_VALUES {
                    return Err(Fault::TooMany {
                        what: "values in filters",
                        count: *values,
                        most: MOST_VALUES,
                    });
                }
                let list: Result<Vec<Value>, Fault> = list.iter().map(|one| self.value(one)).collect();
                test.only(list?);
            }
            ("in", _) => return Err(self.shape("\"in\" takes an array of values")),
            ("exists", Node::Scalar(Json::Boolean(true))) => {}
            ("exists", _) => return Err(self.shape("\"exists\" takes true, and nothing else")),
            _ => return Err(self.shape(&format!("there is no operator {}", shown(operator)))),
        }
        Ok(())
    }

    fn value(&self, operand: &Node) -> Result<Value, Fault> {
        if self.value_type == ValueType::Json {
            return Err(Fault::OnlyExists {
                name: self.name.to_owned(),
            });
        }
        let json = match operand {
            Node::Scalar(json) => json.clone(),
            Node::List(_) => Json::Array,
            Node::Object(_) => Json::Object,
            Node::Null => return Err(self.shape("null is no value")),
        };
        let wrong = |found| Fault::Operand {
            name: self.name.to_owned(),
            registered: self.value_type,
            found,
            kind: json.kind(),
        };
        let value = typed(self.value_type, &json).map_err(wrong)?;
        Value::of(value).ok_or_else(|| self.shape("a nested value cannot be compared"))
    }

    fn ordered(&self, operator: &str) -> Result<(), Fault> {
        match self.value_type {
            ValueType::Boolean => Err(Fault::NoOrder {
                name: self.name.to_owned(),
                registered: self.value_type,
                operator: operator.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn shape(&self, fault: &str) -> Fault {
        Fault::Shape(format!("{}: {fault}", shown(self.name)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn number(digits: &str) -> Node<'static> {
        Node::Scalar(Json::Number(digits.to_owned()))
    }

    fn text(text: &'static str) -> Node<'static> {
        Node::Scalar(Json::Text(text))
    }

    fn read(value_type: ValueType, asked: Node) -> Result<Test, Fault> {
        test("a", value_type, &asked, &mut 0)
    }

    fn accepted(test: &Test, values: &[f64]) -> Vec<f64> {
        let accepts = |value: &&f64| test.accepts(&Value::Number(**value));
        values.iter().filter(accepts).copied().collect()
    }

    const VALUES: [f64; 7] = [f64::NEG_INFINITY, -1.0, 0.0, 1.0, 2.5, f64::INFINITY, f64::NAN];

    #[test]
    fn each_operator_accepts_what_it_says() {
        for (operator, operand, expected) in [
            ("eq", number("1"), &VALUES[3..4]),
            ("gt", number("1.0"), &VALUES[4..7]),
            ("gte", number("1"), &VALUES[3..7]),
            ("lt", number("1"), &VALUES[..3]),
            ("lte", number("1"), &VALUES[..4]),
            ("eq", number("-0"), &VALUES[2..3]),
            ("lte", text("Infinity"), &VALUES[..6]),
            ("gt", text("NaN"), &[]),
            (
                "between",
                Node::List(vec![number("0"), number("2.5")]),
                &VALUES[2..5],
            ),
            ("between", Node::List(vec![number("2"), number("1")]), &[]),
            (
                "in",
                Node::List(vec![number("1"), number("-1"), number("1.0")]),
                &[-1.0, 1.0],
            ),
            ("in", Node::List(vec![]), &[]),
        ] {
            let asked = Node::Object(vec![(operator, operand)]);
            let test = read(ValueType::Number, asked).unwrap();
            assert_eq!(
                format!("{:?}", accepted(&test, &VALUES)),
                format!("{expected:?}"),
                "{operator}"
            );
        }
        let nan = read(ValueType::Number, text("NaN")).unwrap();
        assert_eq!(accepted(&nan, &VALUES).len(), 1);
        let exists = Node::Object(vec![("exists", Node::Scalar(Json::Boolean(true)))]);
        let exists = read(ValueType::Number, exists).unwrap();
        assert_eq!(accepted(&exists, &VALUES).len(), VALUES.len());
    }

    #[test]
    fn all_operators_must_agree() {
        let asked = Node::Object(vec![
            ("gt", number("-1")),
            ("gte", number("0")),
            ("lt", number("2.5")),
            ("lte", number("2.5")),
            ("in", Node::List(vec![number("0"), number("2.5"), number("7")])),
        ]);
        let test = read(ValueType::Number, asked).unwrap();
        assert_eq!(accepted(&test, &VALUES), [0.0]);
        let both = Node::Object(vec![("eq", number("1")), ("in", Node::List(vec![number("2")]))]);
        assert!(read(ValueType::Number, both).unwrap().is_impossible());
        let empty = Node::Object(vec![("gt", number("1")), ("lte", number("1"))]);
        assert!(read(ValueType::Number, empty).unwrap().is_impossible());
    }

    #[test]
    fn texts_are_ordered_by_their_bytes() {
        let test = read(ValueType::Text, Node::Object(vec![("gt", text("Z"))])).unwrap();
        for (value, expected) in [
            ("a", true),
            ("A", false),
            ("Z", false),
            ("Za", true),
            ("é", true),
            ("", false),
        ] {
            assert_eq!(test.accepts(&Value::Text(value.into())), expected, "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let boolean = || Node::Scalar(Json::Boolean(false));
        for (value_type, asked, expected) in [
            (ValueType::Number, Node::Null, "null says nothing"),
            (ValueType::Number, Node::List(vec![number("1")]), "write {\"in\""),
            (ValueType::Number, Node::Object(vec![]), "no operator"),
            (ValueType::Number, text("x"), "the value is a string"),
            (
                ValueType::Number,
                number(&"9".repeat(400)),
                "out of range of double",
            ),
            (ValueType::Integer, number("1.5"), "has a fraction"),
            (
                ValueType::Integer,
                number("9223372036854775808"),
                "out of range of bigint",
            ),
            (ValueType::Timestamp, text("yesterday"), "no time with an offset"),
            (
                ValueType::Boolean,
                Node::Object(vec![("gt", boolean())]),
                "has no order",
            ),
            (ValueType::Json, number("1"), "only be asked whether they exist"),
            (
                ValueType::Number,
                Node::Object(vec![("like", number("1"))]),
                "no operator \"like\"",
            ),
            (
                ValueType::Number,
                Node::Object(vec![("in", number("1"))]),
                "takes an array of values",
            ),
            (
                ValueType::Number,
                Node::Object(vec![("in", Node::List(vec![Node::Null]))]),
                "null is no value",
            ),
            (
                ValueType::Number,
                Node::Object(vec![("exists", boolean())]),
                "takes true",
            ),
            (
                ValueType::Number,
                Node::Object(vec![("between", Node::List(vec![number("1")]))]),
                "two values",
            ),
        ] {
            let fault = read(value_type, asked).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn there_is_an_end_to_what_one_search_asks() {
        let list = Node::List(vec![number("1"); MOST_VALUES + 1]);
        let fault = read(ValueType::Number, Node::Object(vec![("in", list)])).unwrap_err();
        assert!(matches!(fault, Fault::TooMany { .. }));
        for wrong in [Node::Null, Node::Object(vec![]), Node::List(vec![]), number("1")] {
            assert!(matches!(members(wrong), Err(Fault::Shape(_))));
        }
        let many = Node::Object(vec![("a", Node::Null); MOST_ATTRIBUTES + 1]);
        assert!(matches!(members(many), Err(Fault::TooMany { .. })));
    }
}
