//! The page on the record lists each reason's code. `NIXACTIONS_BLESS=1` writes the list anew.

use std::{fs, path::Path};

use syn::{Expr, Item, Lit, Meta};

const BEGIN: &str = "<!-- reason codes: begin -->\n";
const END: &str = "<!-- reason codes: end -->\n";

#[test]
fn the_record_page_lists_each_reason_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("docs/record.md");
    let text = fs::read_to_string(&page).expect("the page exists");
    let (before, rest) = text.split_once(BEGIN).expect("the page has a list");
    let (_, after) = rest.split_once(END).expect("the list has an end");
    let source = fs::read_to_string(root.join("crates/core/src/reason/code.rs"));
    let codes = codes(&source.expect("the source exists"));
    assert!(codes.len() > 30, "{codes:?}");
    let rows: String = codes
        .iter()
        .map(|(word, meaning)| format!("| `{word}` | {meaning} |\n"))
        .collect();
    let made = format!("{before}{BEGIN}\n| code | meaning |\n| --- | --- |\n{rows}\n{END}{after}");
    if std::env::var_os("NIXACTIONS_BLESS").is_some() {
        fs::write(&page, &made).expect("the page is writable");
    }
    assert!(
        made == text || std::env::var_os("NIXACTIONS_BLESS").is_some(),
        "docs/record.md does not list the codes: NIXACTIONS_BLESS=1 writes it"
    );
}

/// Returns the words of the codes, each with its description.
fn codes(source: &str) -> Vec<(String, String)> {
    let file = syn::parse_file(source).expect("the source is Rust");
    let codes = file.items.into_iter().find_map(|item| match item {
        Item::Enum(found) if found.ident == "ReasonCode" => Some(found),
        _ => None,
    });
    let variants = codes.expect("the source has the codes").variants;
    variants
        .into_iter()
        .map(|variant| {
            let name = variant.ident.to_string();
            let word = name[..1].to_lowercase() + &name[1..];
            let lines = variant.attrs.iter().filter_map(|attribute| {
                let Meta::NameValue(doc) = &attribute.meta else {
                    return None;
                };
                match &doc.value {
                    Expr::Lit(literal) => match &literal.lit {
                        Lit::Str(line) => Some(line.value().trim().to_owned()),
                        _ => None,
                    },
                    _ => None,
                }
            });
            let meaning = lines.collect::<Vec<_>>().join(" ");
            (word, meaning.trim_end_matches('.').to_owned())
        })
        .collect()
}
