//! The structural check: a walk of the JSON along the schema.
//!
//! Knows no field of a plan, only the schema's keywords. It reports a value that does not fit and
//! replaces the value by a placeholder that fits. The model can then be built and checked for
//! further faults.

mod compiler;

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value};

use compiler::Compiler;

use super::{
    fault::{At, Refusal, Sink, nearest, quoted, shown},
    schema::schema,
};
use crate::ids;

/// The form of a name, in words.
pub(super) const NAME_FORM: &str =
    "a name of letters, digits, `_` and `-` that starts with a letter or `_`";
/// The placeholder of a text.
const PLACEHOLDER: &str = "placeholder";

static PLAN: LazyLock<Node> = LazyLock::new(|| {
    Compiler::new(schema().as_value())
        .compile_root()
        .expect("invariant: the schema has only keywords that are known here")
});

/// Reports all values that do not fit the schema, and replaces them.
pub(super) fn check(plan: &mut Value, sink: &mut Sink) {
    PLAN.check(plan, &At::ROOT, sink);
}

/// Returns the names of the fields of the objects at a path. A path consists of field names. `*`
/// stands for each key of a map.
pub(super) fn fields(path: &[&str]) -> Vec<&'static str> {
    let at = |node: &'static Node, key: &&str| match node {
        Node::Object(fields) => fields.get(*key).map(|field| &field.node),
        Node::Map { value, .. } => Some(&**value),
        _ => None,
    };
    match path.iter().try_fold(&*PLAN, at) {
        Some(Node::Object(fields)) => fields.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A schema, prepared for the walk.
#[derive(Debug, Clone)]
enum Node {
    Any,
    Null,
    Bool,
    Text,
    Name,
    OneOf(Vec<String>),
    Integer {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        is_above_min: bool,
        max: f64,
    },
    List {
        item: Box<Node>,
        min: usize,
    },
    Object(BTreeMap<String, Field>),
    Map {
        value: Box<Node>,
        named: bool,
    },
    Tagged {
        tag: String,
        variants: BTreeMap<String, BTreeMap<String, Field>>,
    },
    Either(Vec<Node>),
}

#[derive(Debug, Clone)]
struct Field {
    node: Node,
    required: bool,
}

impl Node {
    fn check(&self, value: &mut Value, at: &At<'_>, sink: &mut Sink) {
        match (self, &mut *value) {
            (Self::Any, _)
            | (Self::Null, Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::String(_)) => {}
            (Self::Name, Value::String(name)) => {
                if let Err(refusal) = check_name(name) {
                    sink.add_structural(at, at, || refusal);
                    *value = self.placeholder();
                }
            }
            (Self::OneOf(options), Value::String(text)) => {
                if !options.contains(text) {
                    self.refuse(value, at, sink);
                }
            }
            (Self::Integer { min, max }, Value::Number(number))
                if number.as_u64().is_some_and(|n| (*min..=*max).contains(&n)) => {}
            (
                Self::Number {
                    min,
                    is_above_min,
                    max,
                },
                Value::Number(number),
            ) if number
                .as_f64()
                .is_some_and(|n| n <= *max && (n > *min || n == *min && !is_above_min)) => {}
            (Self::List { item, min }, Value::Array(items)) => {
                if items.len() < *min {
                    sink.add_structural(at, at, || {
                        Refusal::new(
                            format!("{} items", items.len()).replace("0 items", "an empty list"),
                            self.describe(),
                        )
                    });
                    *value = self.placeholder();
                    return;
                }
                for (index, value) in items.iter_mut().enumerate() {
                    item.check(value, &at.index(index), sink);
                }
            }
            (Self::Object(fields), Value::Object(object)) => check_fields(fields, object, at, sink),
            (Self::Map { value: node, named }, Value::Object(object)) => {
                if *named {
                    object.retain(|key, _| match check_name(key) {
                        Ok(()) => true,
                        Err(refusal) => {
                            sink.add_structural(&at.key(key), &at.key(key), || refusal);
                            false
                        }
                    });
                }
                for (key, value) in object {
                    node.check(value, &at.key(key), sink);
                }
            }
            (Self::Tagged { tag, variants }, Value::Object(object)) => {
                match object.get(tag) {
                    Some(Value::String(kind)) if variants.contains_key(kind) => {
                        return check_fields(&variants[kind.as_str()], object, at, sink);
                    }
                    kind => {
                        let kinds = Self::OneOf(variants.keys().cloned().collect());
                        // The other fields of the object are unknown without its kind.
                        sink.add_structural(&at.key(tag), at, || {
                            kind.map_or_else(|| missing(&kinds), |kind| kinds.refusal(kind))
                        });
                    }
                }
                *value = self.placeholder();
            }
            (Self::Either(nodes), _) => match nodes.iter().find(|node| node.takes(value)) {
                // The other alternatives may be meant.
                Some(Self::OneOf(options))
                    if !value
                        .as_str()
                        .is_some_and(|text| options.iter().any(|option| option == text)) =>
                {
                    self.refuse(value, at, sink);
                }
                Some(node) => node.check(value, at, sink),
                None => self.refuse(value, at, sink),
            },
            _ => self.refuse(value, at, sink),
        }
    }

    fn refuse(&self, value: &mut Value, at: &At<'_>, sink: &mut Sink) {
        sink.add_structural(at, at, || self.refusal(value));
        *value = self.placeholder();
    }

    fn refusal(&self, value: &Value) -> Refusal {
        Refusal::new(shown(value), self.describe()).maybe_hint(self.rewrite(value))
    }

    /// Returns whether a value is of the node's JSON type.
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Null => value.is_null(),
            Self::Bool => value.is_boolean(),
            Self::Text | Self::Name | Self::OneOf(_) => value.is_string(),
            Self::Integer { .. } | Self::Number { .. } => value.is_number(),
            Self::List { .. } => value.is_array(),
            Self::Object(_) | Self::Map { .. } | Self::Tagged { .. } => value.is_object(),
            Self::Either(nodes) => nodes.iter().any(|node| node.takes(value)),
        }
    }

    /// Returns a hint on the probable spelling of a value with a wrong type.
    fn rewrite(&self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Text, Value::Bool(_) | Value::Number(_)) => {
                Some(format!("write it as text: \"{value}\""))
            }
            (Self::Bool | Self::Integer { .. } | Self::Number { .. }, Value::String(text)) => {
                let meant: Value = serde_json::from_str(text.trim()).ok()?;
                self.takes(&meant)
                    .then(|| format!("write it without quotes: {meant}"))
            }
            (Self::OneOf(options), Value::String(text)) => {
                nearest(text, options.iter().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?"))
            }
            (Self::List { item, .. }, Value::String(text))
                if item.takes(value) && text.len() < 60 =>
            {
                Some(format!(
                    "write a list: {}",
                    Value::from(text.split_whitespace().collect::<Vec<_>>())
                ))
            }
            (Self::Object(fields), Value::String(text)) if fields.contains_key("bash") => {
                (text.len() < 60).then(|| format!("write {{ \"bash\": {value} }}"))
            }
            // A single word is more than the others of these, and less than a list.
            (Self::Either(nodes), Value::String(text)) if !text.contains(char::is_whitespace) => {
                nodes
                    .iter()
                    .filter(|node| !matches!(node, Self::List { .. }))
                    .find_map(|node| node.rewrite(value))
            }
            (Self::Either(nodes), _) => nodes.iter().find_map(|node| node.rewrite(value)),
            _ => None,
        }
    }

    /// Describes the values that fit.
    fn describe(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Name => NAME_FORM.to_owned(),
            Self::OneOf(options) => format!("one of {}", list(options.iter().map(String::as_str))),
            Self::Integer { min, max } if min == max => format!("the number {min}"),
            Self::Integer { min, max } if *max == u64::from(u32::MAX) => {
                format!("an integer of at least {min}")
            }
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Number { min, .. } if min.is_infinite() => "a number".to_owned(),
            Self::Number {
                min,
                is_above_min: true,
                max,
            } => format!("a number greater than {min} and at most {max}"),
            Self::Number { min, max, .. } => format!("a number from {min} to {max}"),
            Self::List { item, min } => {
                let (one, many) = match **item {
                    Self::Text => ("text", " of texts"),
                    Self::Name => ("name", " of names"),
                    _ => ("item", ""),
                };
                if *min == 0 {
                    format!("a list{many}")
                } else {
                    format!("a list of at least {min} {one}")
                }
            }
            Self::Object(fields) => {
                let required = list(
                    fields
                        .iter()
                        .filter(|(_, field)| field.required)
                        .map(|(name, _)| name.as_str()),
                );
                if required.is_empty() {
                    "an object".to_owned()
                } else {
                    format!("an object with {required}")
                }
            }
            Self::Map { value, .. } if matches!(**value, Self::Text) => {
                "an object of texts".to_owned()
            }
            Self::Map { .. } => "an object".to_owned(),
            Self::Tagged { tag, .. } => format!("an object with `{tag}`"),
            Self::Either(nodes) => nodes
                .iter()
                .map(Self::describe)
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }

    /// Returns a value that fits.
    fn placeholder(&self) -> Value {
        match self {
            Self::Any | Self::Null => Value::Null,
            Self::Bool => false.into(),
            Self::Text | Self::Name => PLACEHOLDER.into(),
            Self::OneOf(options) => options
                .first()
                .map_or(Value::Null, |option| option.as_str().into()),
            Self::Integer { min, .. } => (*min).into(),
            Self::Number { min, .. } if min.is_infinite() => 0.into(),
            Self::Number { min, .. } => (min + 1.0).into(),
            Self::List { item, min } => {
                Value::Array((0..*min).map(|_| item.placeholder()).collect())
            }
            Self::Object(fields) => Value::Object(required_fields(fields)),
            Self::Map { .. } => Value::Object(Map::new()),
            Self::Tagged { tag, variants } => {
                // Take the variant with the fewest required fields.
                let simplest = variants.iter().min_by_key(|(_, fields)| {
                    fields.values().filter(|field| field.required).count()
                });
                let mut object = simplest
                    .map(|(_, fields)| required_fields(fields))
                    .unwrap_or_default();
                if let Some((kind, _)) = simplest {
                    object.insert(tag.clone(), kind.as_str().into());
                }
                Value::Object(object)
            }
            Self::Either(nodes) => nodes.first().map_or(Value::Null, Self::placeholder),
        }
    }
}

fn required_fields(fields: &BTreeMap<String, Field>) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(_, field)| field.required)
        .map(|(name, field)| (name.clone(), field.node.placeholder()))
        .collect()
}

fn missing(node: &Node) -> Refusal {
    Refusal::new("nothing", format!("{} (it is required)", node.describe()))
}

fn check_fields(
    fields: &BTreeMap<String, Field>,
    object: &mut Map<String, Value>,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let mut all_are_known = true;
    for (key, value) in object.iter_mut() {
        let at = at.key(key);
        match fields.get(key) {
            Some(field) if key == "run" && value.is_string() => {
                let hint = format!("a script is `bash`: \"bash\": {value}");
                sink.add_structural(&at, &at, || field.node.refusal(value).hint(hint));
                *value = field.node.placeholder();
            }
            Some(field) => field.node.check(value, &at, sink),
            None => {
                all_are_known = false;
                sink.add_structural(&at, &at, || unknown(key, fields));
            }
        }
    }
    if !all_are_known {
        object.retain(|key, _| fields.contains_key(key));
    }
    for (name, field) in fields.iter().filter(|(_, field)| field.required) {
        if !object.contains_key(name) {
            sink.add_structural(&at.key(name), &at.key(name), || missing(&field.node));
            object.insert(name.clone(), field.node.placeholder());
        }
    }
}

fn unknown(key: &str, fields: &BTreeMap<String, Field>) -> Refusal {
    let names = || fields.keys().map(String::as_str);
    let near = || meant(key, names()).map(|near| format!("did you mean `{near}`?"));
    Refusal::new("an unknown field", format!("one of {}", list(names())))
        .maybe_hint(place_of(key, fields).map_or_else(near, |place| Some(place.to_owned())))
}

/// Returns the place of a field that stands at the wrong one.
fn place_of(key: &str, fields: &BTreeMap<String, Field>) -> Option<&'static str> {
    match key {
        "uses" => Some("a plan has no actions: write what it runs"),
        "on" => Some("a plan does not start itself: `nixactions run` and timers do"),
        "permissions" => Some("a job has no token"),
        "post" => Some("a `post` belongs to the step that it cleans up after"),
        "condition" | "if" if is_post(fields) => {
            Some("a `post` runs whatever happened, if its step has started")
        }
        "shell" if fields.contains_key("defaults") => Some("write it in `defaults`"),
        "workdir" | "working-directory" if fields.contains_key("defaults") => {
            Some("write `workdir` in `defaults`")
        }
        "run" if fields.len() == 2 && fields.contains_key("shell") => {
            Some("write `shell` and `workdir` directly in `defaults`")
        }
        _ => None,
    }
}

/// Returns whether these are the fields of a step's clean-up.
fn is_post(fields: &BTreeMap<String, Field>) -> bool {
    fields.contains_key("bash") && !fields.contains_key("condition")
}

/// Returns the field that the author of a plan probably meant by a name.
pub(super) fn meant<'a>(
    name: &str,
    fields: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let known = |name: &str| fields.clone().into_iter().find(|field| *field == name);
    known(name)
        .or_else(|| known(elsewhere(name)?))
        .or_else(|| nearest(name, fields.clone()))
}

/// Returns our field for a name from GitHub Actions and similar systems.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "if" | "when" | "only" => "condition",
        "runs-on" | "runsOn" => "executor",
        "working-directory" | "cwd" | "directory" => "workdir",
        "timeout-minutes" => "timeout",
        "script" | "command" => "bash",
        "strategy" => "matrix",
        "depends" | "dependsOn" | "after" => "needs",
        "artifacts" => "outputs",
        "environment" => "env",
        _ => return None,
    })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    match ids::check_name(name) {
        Ok(()) => Ok(()),
        Err(error) => Err(Refusal::new(quoted(name), NAME_FORM).hint(error.to_string())),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_understands_the_whole_schema() {
        Compiler::new(schema().as_value()).compile_root().unwrap();
    }

    #[test]
    fn a_placeholder_fits_its_own_schema() {
        let mut sink = Sink::default();
        let mut plan = PLAN.placeholder();
        PLAN.check(&mut plan, &At::ROOT, &mut sink);
        sink.finish(()).unwrap();
    }
}
