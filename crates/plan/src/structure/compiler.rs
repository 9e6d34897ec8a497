//! Prepares a JSON Schema for the walk.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Field, Node};
use crate::ids::NAME_PATTERN;

/// Reads the parts of JSON Schema that schemars uses for the model.
pub(super) struct Compiler<'a> {
    root: &'a Value,
    definitions: Option<&'a Map<String, Value>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            definitions: root.get("$defs").and_then(Value::as_object),
        }
    }

    pub(super) fn compile_root(&self) -> Result<Node, String> {
        self.compile(self.root)
    }

    fn compile(&self, schema: &Value) -> Result<Node, String> {
        let object = schema
            .as_object()
            .ok_or_else(|| format!("not an object: {schema}"))?;
        const KEYWORDS: &[&str] = &[
            "$defs",
            "$ref",
            "$schema",
            "additionalProperties",
            "anyOf",
            "const",
            "default",
            "description",
            "enum",
            "exclusiveMinimum",
            "format",
            "items",
            "maxLength",
            "maximum",
            "minItems",
            "minimum",
            "oneOf",
            "pattern",
            "patternProperties",
            "properties",
            "required",
            "title",
            "type",
        ];
        if let Some(keyword) = object.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
            return Err(format!("unknown keyword `{keyword}`"));
        }
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let definition = reference
                .strip_prefix("#/$defs/")
                .and_then(|name| self.definitions?.get(name));
            return self
                .compile(definition.ok_or_else(|| format!("unknown reference `{reference}`"))?);
        }
        if let Some(variants) = object
            .get("oneOf")
            .or(object.get("anyOf"))
            .and_then(Value::as_array)
        {
            return self.alternatives(variants);
        }
        if let Some(value) = object.get("const").and_then(Value::as_str) {
            return Ok(Node::OneOf(vec![value.to_owned()]));
        }
        if let Some(values) = object.get("enum").and_then(Value::as_array) {
            return Ok(Node::OneOf(
                values
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ));
        }
        match object.get("type") {
            None => Ok(Node::Any),
            Some(Value::String(kind)) => self.of_type(kind, object),
            Some(Value::Array(kinds)) => kinds
                .iter()
                .filter_map(Value::as_str)
                .map(|kind| self.of_type(kind, object))
                .collect::<Result<_, _>>()
                .map(Node::Either),
            Some(other) => Err(format!("unknown type {other}")),
        }
    }

    /// Compiles `oneOf` and `anyOf`: texts, objects with a constant field that tells their kind, or
    /// values of different types.
    fn alternatives(&self, variants: &[Value]) -> Result<Node, String> {
        let tagged: Option<Vec<(String, String)>> = variants.iter().map(tag_of).collect();
        if let Some(tags) = tagged {
            let mut by_kind = BTreeMap::new();
            for ((_, kind), variant) in tags.iter().zip(variants) {
                match self.compile(variant)? {
                    Node::Object(fields) => by_kind.insert(kind.clone(), fields),
                    other => {
                        return Err(format!("a tagged variant that is not an object: {other:?}"));
                    }
                };
            }
            return Ok(Node::Tagged {
                tag: tags[0].0.clone(),
                variants: by_kind,
            });
        }
        let nodes = variants
            .iter()
            .map(|variant| self.compile(variant))
            .collect::<Result<Vec<_>, _>>()?;
        let texts: Option<Vec<Vec<String>>> = nodes
            .iter()
            .map(|node| {
                if let Node::OneOf(options) = node {
                    Some(options.clone())
                } else {
                    None
                }
            })
            .collect();
        Ok(texts.map_or(Node::Either(nodes), |texts| Node::OneOf(texts.concat())))
    }

    fn of_type(&self, kind: &str, object: &Map<String, Value>) -> Result<Node, String> {
        Ok(match kind {
            "null" => Node::Null,
            "boolean" => Node::Bool,
            "string" => match object.get("pattern").and_then(Value::as_str) {
                None => Node::Text,
                Some(NAME_PATTERN) => Node::Name,
                Some(other) => return Err(format!("unknown pattern `{other}`")),
            },
            "integer" => {
                let bound = |name: &str| object.get(name).and_then(Value::as_u64);
                let most = match object.get("format").and_then(Value::as_str) {
                    Some("uint16") => u64::from(u16::MAX),
                    Some("uint32") => u64::from(u32::MAX),
                    other => return Err(format!("unknown integer format {other:?}")),
                };
                Node::Integer {
                    min: bound("minimum").unwrap_or(0),
                    max: bound("maximum").unwrap_or(most),
                }
            }
            "number" => {
                let bound = |name: &str| object.get(name).and_then(Value::as_f64);
                let above = bound("exclusiveMinimum");
                Node::Number {
                    min: above.or(bound("minimum")).unwrap_or(f64::NEG_INFINITY),
                    is_above_min: above.is_some(),
                    max: bound("maximum").unwrap_or(f64::INFINITY),
                }
            }
            "array" => {
                let item =
                    self.compile(object.get("items").unwrap_or(&Value::Object(Map::new())))?;
                Node::List {
                    item: Box::new(item),
                    min: object.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize,
                }
            }
            "object" => return self.object(object),
            other => return Err(format!("unknown type `{other}`")),
        })
    }

    fn object(&self, object: &Map<String, Value>) -> Result<Node, String> {
        if let Some(patterns) = object.get("patternProperties").and_then(Value::as_object) {
            let value = patterns
                .get(NAME_PATTERN)
                .filter(|_| patterns.len() == 1)
                .ok_or("unknown pattern of properties")?;
            return Ok(Node::Map {
                value: Box::new(self.compile(value)?),
                named: true,
            });
        }
        if let Some(value) = object
            .get("additionalProperties")
            .filter(|value| value.is_object())
        {
            return Ok(Node::Map {
                value: Box::new(self.compile(value)?),
                named: false,
            });
        }
        let required: Vec<_> = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let fields = object
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        fields
            .map(|(name, schema)| {
                let field = Field {
                    node: self.compile(schema)?,
                    required: required.contains(&name.as_str()),
                };
                Ok((name.clone(), field))
            })
            .collect::<Result<_, _>>()
            .map(Node::Object)
    }
}

/// Returns the constant field of an object's schema: its name and value.
fn tag_of(variant: &Value) -> Option<(String, String)> {
    let fields = variant.get("properties")?.as_object()?;
    fields
        .iter()
        .find_map(|(name, schema)| Some((name.clone(), schema.get("const")?.as_str()?.to_owned())))
}
