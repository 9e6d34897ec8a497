//! The values of expressions, and how GitHub's loose rules turn one kind into another
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#operators>).

use std::{
    cmp::Ordering,
    collections::{HashMap, hash_map::Entry},
    fmt,
    rc::Rc,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::number;

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`: also the result of an access to a missing property.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Rc<str>),
    /// A list.
    List(Rc<Vec<Value>>),
    /// Values by name, in their order.
    Object(Rc<Vec<(String, Value)>>),
}

impl Value {
    /// Returns a text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Rc::from(text.as_ref()))
    }

    /// Returns an object.
    pub fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        let entries = entries.into_iter();
        Self::Object(Rc::new(
            entries.map(|(name, value)| (name.into(), value)).collect(),
        ))
    }

    /// Returns whether the value counts as true.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Text(text) => !text.is_empty(),
            Self::List(_) | Self::Object(_) => true,
        }
    }

    /// Returns the text that stands for the value.
    pub fn to_text(&self) -> Rc<str> {
        match self {
            Self::Null => "".into(),
            Self::Bool(value) => if *value { "true" } else { "false" }.into(),
            Self::Number(number) => number::text(*number).into(),
            Self::Text(text) => Rc::clone(text),
            Self::List(_) => "Array".into(),
            Self::Object(_) => "Object".into(),
        }
    }

    /// Returns the number that stands for the value; NaN where none does.
    pub(crate) fn to_number(&self) -> f64 {
        match self {
            Self::Null => 0.0,
            Self::Bool(value) => f64::from(u8::from(*value)),
            Self::Number(number) => *number,
            Self::Text(text) => number::parse(text),
            Self::List(_) | Self::Object(_) => f64::NAN,
        }
    }

    /// Returns whether the value is neither a list nor an object.
    pub(crate) fn is_simple(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Object(_))
    }

    /// Returns the value of a name; of names that differ in case only, the one that is the same.
    pub(crate) fn get(&self, name: &str) -> Self {
        let Self::Object(entries) = self else {
            return Self::Null;
        };
        let find = |is: &dyn Fn(&str) -> bool| {
            let found = entries.iter().find(|(key, _)| is(key));
            found.map(|(_, value)| value.clone())
        };
        find(&|key| key == name)
            .or_else(|| find(&|key| key.eq_ignore_ascii_case(name)))
            .unwrap_or(Self::Null)
    }

    /// Returns whether `==` holds: texts are the same in any case, lists and objects only if they
    /// are one and the same, and different kinds are compared as numbers.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => Rc::ptr_eq(a, b),
            (Self::Object(a), Self::Object(b)) => Rc::ptr_eq(a, b),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// Returns how the value compares to another, if it does.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(folded(a).cmp(&folded(b))),
            (a, b) => a.to_number().partial_cmp(&b.to_number()),
        }
    }
}

/// Returns a text as it is compared: case does not count, character by character.
pub(crate) fn folded(text: &str) -> String {
    let upper = |c: char| {
        let mut upper = c.to_uppercase();
        upper.next().filter(|_| upper.next().is_none()).unwrap_or(c)
    };
    text.chars().map(upper).collect()
}

impl PartialEq for Value {
    /// Says whether two values are alike in each part; `==` of expressions is [`Value::equals`].
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b || a.is_nan() && b.is_nan(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(items) => {
                Self::List(Rc::new(items.iter().map(Self::from).collect()))
            }
            serde_json::Value::Object(entries) => Self::object(
                entries
                    .iter()
                    .map(|(name, value)| (name.clone(), Self::from(value))),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Keeps the order of names, which `serde_json::Value` does not.
        struct AsItStands;
        impl<'de> Visitor<'de> for AsItStands {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(Rc::new(list)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                let mut places: HashMap<String, usize> = HashMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    // Of a name that comes twice, the later value counts.
                    match places.entry(name) {
                        Entry::Occupied(place) => entries[*place.get()].1 = value,
                        Entry::Vacant(place) => {
                            entries.push((place.key().clone(), value));
                            place.insert(entries.len() - 1);
                        }
                    }
                }
                Ok(Value::Object(Rc::new(entries)))
            }
        }
        deserializer.deserialize_any(AsItStands)
    }
}

/// Writes a value as JSON, with two blanks for each level, as GitHub does. Stops once there are
/// more than `most` bytes.
pub(crate) fn write_json(value: &Value, level: usize, most: usize, out: &mut String) {
    if out.len() > most {
        return;
    }
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        (0..level).for_each(|_| out.push_str("  "));
    };
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_text()),
        Value::Text(text) => out.push_str(&quoted(text)),
        Value::List(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(entries) if entries.is_empty() => out.push_str("{}"),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                write_json(item, level + 1, most, out);
            }
            line(level, out);
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (index, (name, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                out.push_str(&quoted(name));
                out.push_str(": ");
                write_json(item, level + 1, most, out);
            }
            line(level, out);
            out.push('}');
        }
    }
}
