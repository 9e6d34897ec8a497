//! Parses bytes into a JSON value and reports every key that occurs twice in an object.
//!
//! Knows nothing of plans. serde_json alone would silently keep the last of two equal keys.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::fault::{At, Fault, Refusal, Sink, quoted};

/// The most bytes a plan may have: 64 MiB.
pub const PLAN_BYTES_MAX: u64 = 64 << 20;

/// Returns the value of a JSON text. Reports duplicate keys to `sink` and keeps the last value of
/// each.
///
/// # Errors
/// The text is not JSON. The fault tells where.
pub(super) fn parse(bytes: &[u8], sink: &mut Sink) -> Result<Value, Fault> {
    if bytes.len() as u64 > PLAN_BYTES_MAX {
        return Err(too_large(bytes.len() as u64));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let line = bytes[..offset].iter().filter(|b| **b == b'\n').count() + 1;
        whole(Refusal::new(
            format!(
                "the byte 0x{:02x} at offset {offset} (line {line})",
                bytes[offset]
            ),
            "UTF-8 text",
        ))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(whole(Refusal::new(
            if text.is_empty() {
                "an empty file"
            } else {
                "a blank file"
            },
            "a plan in JSON",
        )));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Node { at: At::ROOT, sink }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| {
        let refusal = Refusal::new(format!("text that is not JSON ({error})"), "a plan in JSON");
        whole(match text.as_bytes() {
            [0xef, 0xbb, 0xbf, ..] => {
                refusal.hint("the file starts with a byte order mark, which JSON does not have")
            }
            _ if error.to_string().starts_with("recursion limit") => {
                refusal.hint("a plan nests less than 10 deep")
            }
            _ if error.is_eof() => refusal.hint("the file ends too early; was it written whole?"),
            _ => refusal,
        })
    })
}

/// Returns the fault of a plan that is larger than [`PLAN_BYTES_MAX`].
pub(super) fn too_large(bytes: u64) -> Fault {
    whole(Refusal::new(
        format!("{bytes} bytes"),
        format!("at most {PLAN_BYTES_MAX} bytes (64 MiB)"),
    ))
}

fn whole(refusal: Refusal) -> Fault {
    refusal.at(&At::ROOT)
}

/// A value that is about to be read, and its place.
struct Node<'a> {
    at: At<'a>,
    sink: &'a mut Sink,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Node {
            at: self.at.index(list.len()),
            sink: &mut *self.sink,
        })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let at = self.at.key(&key);
            if object.contains_key(&key) {
                self.sink.add(&at, || {
                    Refusal::new(
                        format!("the key {} twice", quoted(&key)),
                        "each key once in an object",
                    )
                });
            }
            let value = fields.next_value_seed(Node {
                at,
                sink: &mut *self.sink,
            })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
