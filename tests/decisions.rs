//! Holds that programs decide by enums, and that only people read texts: no code compares a reason
//! or a sentence, or looks for a part of one.
//!
//! Reads the sources as syntax. Tests within the sources may compare texts, as they check them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, BinOp, Expr, ExprBinary, ExprMethodCall, ImplItemFn, Item, ItemFn, Lit, Macro, Meta,
    Pat, Token,
    parse::ParseStream,
    visit::{self, Visit},
};

/// The methods that look into a text.
const LOOKS: &[&str] = &[
    "contains",
    "ends_with",
    "eq",
    "eq_ignore_ascii_case",
    "find",
    "matches",
    "rfind",
    "split_once",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
];

/// The names of texts that tell why something ended.
const REASONS: &[&str] = &["reason", "reasons", "why"];

/// The texts of the kernel, of other programs and of libraries that have no code for a case. Each
/// stands at the place where the text comes in, and becomes an enum, a flag or a hint there.
const FOREIGN: &[(&str, &str)] = &[
    ("crates/plan/src/document.rs", "recursion limit"),
    ("crates/engine/src/embedded/error.rs", "Too many open files"),
    ("crates/engine/src/embedded/error.rs", "PID 1 ended"),
    ("crates/engine/src/embedded/error.rs", "Exiting PID 1"),
    ("crates/runner/src/cgroup.rs", "oom_kill "),
    ("crates/runner/src/cgroup.rs", "usage_usec "),
    ("src/start/environment.rs", "export "),
];

#[test]
fn no_decision_depends_on_a_sentence() {
    let sources = sources();
    assert!(sources.len() > 100, "{sources:?}");
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(root().join(path)).expect("a source is UTF-8");
            faults(path, &text)
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn each_foreign_sentence_is_still_looked_for() {
    for (path, sentence) in FOREIGN {
        let text = fs::read_to_string(root().join(path)).expect("the file exists");
        assert!(text.contains(sentence), "{path} does not need `{sentence}`");
    }
}

/// Returns the comparisons of texts in a source file, a line each.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut decisions = Decisions {
        place: path.to_string_lossy().into_owned(),
        function: String::new(),
        faults: Vec::new(),
    };
    decisions.visit_file(&file);
    decisions.faults
}

struct Decisions {
    /// The file.
    place: String,
    /// The function that is being visited.
    function: String,
    faults: Vec<String>,
}

impl Decisions {
    fn fault(&mut self, found: &str) {
        self.faults
            .push(format!("{}, `{}`: {found}", self.place, self.function));
    }

    /// Checks the operands of a comparison.
    fn compared(&mut self, operands: &[&Expr]) {
        for operand in operands {
            match operand {
                Expr::Lit(literal) => self.literal(&literal.lit),
                other if is_text_of_reason(other) => {
                    self.fault("compares a reason: decide by its code");
                }
                _ => {}
            }
        }
    }

    fn literal(&mut self, literal: &Lit) {
        if let Lit::Str(text) = literal
            && is_sentence(&text.value())
            && !FOREIGN.contains(&(&*self.place, &*text.value()))
        {
            let text = text.value();
            self.fault(&format!(
                "looks for the sentence {text:?}: decide by an enum"
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Decisions {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(module) => &module.attrs,
            Item::Fn(function) => &function.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function = function.sig.ident.to_string();
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.function = function.sig.ident.to_string();
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        if matches!(binary.op, BinOp::Eq(_) | BinOp::Ne(_)) {
            self.compared(&[&binary.left, &binary.right]);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if LOOKS.iter().any(|method| call.method == method) {
            let arguments = call.args.iter().chain([&*call.receiver]);
            self.compared(&arguments.collect::<Vec<_>>());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        if let Pat::Lit(literal) = pattern {
            self.literal(&literal.lit);
        }
        visit::visit_pat(self, pattern);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if called.path.is_ident("matches")
            && let Ok((expression, pattern, guard)) = called.parse_body_with(parts_of_matches)
        {
            // The parts live only here, so a second visitor looks at them.
            let mut inner = Decisions {
                place: self.place.clone(),
                function: self.function.clone(),
                faults: Vec::new(),
            };
            inner.visit_expr(&expression);
            inner.visit_pat(&pattern);
            guard.iter().for_each(|guard| inner.visit_expr(guard));
            self.faults.append(&mut inner.faults);
        }
    }
}

/// Parses the body of `matches!(expression, pattern if guard)`.
fn parts_of_matches(input: ParseStream<'_>) -> syn::Result<(Expr, Pat, Option<Expr>)> {
    let expression = input.parse()?;
    input.parse::<Token![,]>()?;
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    let has_guard = input.parse::<Option<Token![if]>>()?.is_some();
    let guard = has_guard.then(|| input.parse()).transpose()?;
    input.parse::<Option<Token![,]>>()?;
    Ok((expression, pattern, guard))
}

/// Returns whether an item is only there for tests.
fn is_for_tests(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::NameValue(_) => false,
    }
}

/// Returns whether an expression is the text of a reason: a variable or field with such a name, or
/// one of its forms, such as `reason.as_deref()` or `Some(reason)`.
fn is_text_of_reason(expression: &Expr) -> bool {
    let is_reason = |name: &syn::Ident| REASONS.iter().any(|reason| name == reason);
    match expression {
        Expr::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| is_reason(&last.ident)),
        Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => is_reason(name),
            syn::Member::Unnamed(_) => is_text_of_reason(&field.base),
        },
        Expr::MethodCall(call) => is_text_of_reason(&call.receiver),
        Expr::Reference(inner) => is_text_of_reason(&inner.expr),
        Expr::Unary(inner) => is_text_of_reason(&inner.expr),
        Expr::Paren(inner) => is_text_of_reason(&inner.expr),
        Expr::Call(call) => call.args.iter().any(is_text_of_reason),
        _ => false,
    }
}

/// Returns whether a text has two words in a row, or a word and a space after it.
fn is_sentence(text: &str) -> bool {
    let is_word = |word: &&str| word.chars().any(char::is_alphabetic);
    let words = text.split(' ').filter(is_word).count();
    words > 1 || words == 1 && text.ends_with(' ')
}

/// Returns the source files of the programs, relative to the repository.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join("src")];
    for package in fs::read_dir(root().join("crates")).expect("the crates can be listed") {
        open.push(package.expect("an entry can be read").path().join("src"));
    }
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory can be listed");
            open.extend(entries.map(|entry| entry.expect("an entry can be read").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path
                .file_stem()
                .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
        {
            let relative = path
                .strip_prefix(root())
                .expect("it lies in the repository");
            found.push(relative.to_owned());
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

mod the_test_itself {
    //! Breaks the rule in each way, so that a rule that finds nothing is noticed.

    use super::*;

    fn count(body: &str) -> usize {
        let text = format!("fn f() {{ {body} }}");
        faults(Path::new("a.rs"), &text).len()
    }

    #[test]
    fn comparisons_of_reasons_are_found() {
        for body in [
            "if record.reason.as_deref() != Some(UNIT_STOPPED) {}",
            "if reason == other {}",
            "if left.reason.as_deref().is_some_and(|reason| reason.starts_with(\"step\")) {}",
            "let a = reason.strip_prefix(&format!(\"step {}: \", name));",
            "let a = why.contains(word);",
        ] {
            assert_eq!(count(body), 1, "{body}");
        }
    }

    #[test]
    fn sentences_are_found() {
        for body in [
            "if text == \"the run was cancelled\" {}",
            "let a = text.starts_with(\"step \");",
            "match text { \"its unit was stopped\" => {} _ => {} }",
            "let a = matches!(text, Some(\"the run was cancelled\"));",
        ] {
            assert_eq!(count(body), 1, "{body}");
        }
    }

    #[test]
    fn decisions_by_enums_and_words_are_fine() {
        for body in [
            "if record.reason_code == Some(ReasonCode::UnitStopped) {}",
            "if matches!(reason, Some(Reason::RunCancelled)) {}",
            "let a = reason.is_some() && word == \"timeout\";",
            "match word { \"oom-kill\" => {} _ => {} }",
            "let a = format!(\"step {name}: {reason}\");",
        ] {
            assert_eq!(count(body), 0, "{body}");
        }
    }

    #[test]
    fn tests_may_compare_texts() {
        let text = "#[cfg(test)] mod tests { fn f() { if reason == \"a b\" {} } }";
        assert_eq!(faults(Path::new("a.rs"), text).len(), 0);
    }
}
