//! `docs/plan.schema.json` is what the model says, `docs/properties.md` what the checked set of
//! unit properties says. `NIXACTIONS_BLESS=1` writes them anew.

use std::{fmt::Write as _, fs, path::Path};

use nixactions::plan::{self, properties::KNOWN};

fn is_checked_in(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file);
    if std::env::var_os("NIXACTIONS_BLESS").is_some() {
        fs::write(&path, text).expect("the documentation is writable");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "`docs/{file}` is out of date; run with NIXACTIONS_BLESS=1"
    );
}

#[test]
fn the_checked_in_schema_is_the_models() {
    is_checked_in("plan.schema.json", &plan::schema_text());
}

#[test]
fn the_checked_in_properties_are_those_of_the_set() {
    let mut text = String::from(
        "# Unit properties\n\n\
        An executor or a job may set these properties in `properties`, as in a unit file\n\
        (systemd.exec(5), systemd.resource-control(5)). Each value is a text. The column \"since\" names the\n\
        systemd version that a property needs, if it is newer than 252. An older systemd runs the job\n\
        without the property, and nixactions warns.\n\n\
        A property of a job comes after that of its executor, and that comes after the sandbox's. A later\n\
        single value replaces the earlier one, and a later list adds to it. So after the deny-list of the\n\
        sandbox, `SystemCallFilter=@mount` allows what the sandbox denies, and `~ptrace` denies more.\n\n\
        This page is generated from the program.\n\n\
        | property | value | for example | since |\n| --- | --- | --- | --- |\n",
    );
    for known in KNOWN {
        let example = known
            .examples
            .iter()
            .find(|example| !example.is_empty())
            .unwrap();
        let since = if known.since > 252 {
            known.since.to_string()
        } else {
            String::new()
        };
        writeln!(
            text,
            "| `{}` | {} | `{example}` | {since} |",
            known.name,
            known.expected()
        )
        .unwrap();
    }
    is_checked_in("properties.md", &text);
}
