//! The JSON Schema of a plan, generated from the model. `docs/plan.schema.json` and the structural
//! check come from it.

use schemars::{Schema, generate::SchemaSettings};
use serde_json::Value;

use super::model::{PLAN_VERSION, Plan};

/// Returns the JSON Schema (draft 2020-12) of a plan.
pub fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Plan>();
    schema.insert(
        "title".to_owned(),
        Value::from(format!("nixactions plan, version {PLAN_VERSION}")),
    );
    schema
}

/// Returns the JSON Schema as text: the content of `docs/plan.schema.json`.
pub fn schema_text() -> String {
    let mut text = format!("{:#}", schema().as_value());
    text.push('\n');
    text
}
