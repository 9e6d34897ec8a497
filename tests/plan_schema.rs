//! `docs/plan.schema.json` is what the model says. `NIXACTIONS_BLESS=1` writes it anew.

use std::{fs, path::Path};

use nixactions::plan;

#[test]
fn the_checked_in_schema_is_the_models() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plan.schema.json");
    let schema = plan::schema_text();
    if std::env::var_os("NIXACTIONS_BLESS").is_some() {
        fs::write(&file, &schema).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap_or_default() == schema, "`docs/plan.schema.json` is out of date; run with NIXACTIONS_BLESS=1");
}
