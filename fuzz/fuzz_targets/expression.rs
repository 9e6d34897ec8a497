//! Any text as a condition, as a value with expressions, and as an expression.
//!
//! Held, beside that nothing panics:
//!
//! - A fault lies in the text, between two characters.
//! - A value is the same each time, and what is made of it is bounded.
//! - An expression in parentheses has the same value; after `!` it has the opposite one; beside
//!   `true` it keeps its own.
//! - The parts of a text make up the text.
//! - What the plan's check passes as an expression can be parsed, so that a bad one never reaches a
//!   run.
//!
//! `cargo +nightly fuzz run expression fuzz/corpus/expression fuzz/seeds/expression`.

#![no_main]

use std::{collections::BTreeMap, rc::Rc};

use libfuzzer_sys::fuzz_target;
use nixactions_core::conditions::Condition;
use nixactions_expression::{
    Contexts, Expression, Failure, Shape, Status, Value, check, evaluate, parse,
    template::{self, Segment},
};

/// The most bytes of a text that an expression makes. JSON may take more than its limit by the
/// brackets that are open.
const TEXT_MAX: usize = (1 << 20) + (64 << 10);

struct Given;

impl Contexts for Given {
    fn context(&self, name: &str) -> Value {
        let step = |outcome: &str| {
            let outputs = [
                ("list", Value::text("[1, {\"a\": null}, \"é\"]")),
                ("text", Value::text("It's 3")),
            ];
            Value::object([
                ("outcome", Value::text(outcome)),
                ("outputs", Value::object(outputs)),
            ])
        };
        match name {
            "steps" => Value::object([("a", step("failure")), ("b", step("success"))]),
            "needs" => Value::object([("test", step("skipped"))]),
            "env" => Value::object([("A", Value::text("0x10")), ("EMPTY", Value::text(""))]),
            "inputs" => Value::object([("yes", Value::Bool(true)), ("n", Value::Number(-1.5))]),
            "matrix" => Value::List(Rc::new(vec![Value::Null, Value::text("linux")])),
            _ => Value::Null,
        }
    }

    fn hash_files(&self, patterns: &[Rc<str>]) -> Result<String, String> {
        if patterns.iter().any(|pattern| pattern.is_empty()) {
            Err("an empty pattern".to_owned())
        } else {
            Ok(patterns.len().to_string())
        }
    }
}

fuzz_target!(|text: &str| {
    as_template(text);
    as_condition(text);
    let Some(expression) = parsed(text) else {
        return;
    };
    let contexts: BTreeMap<_, _> = ["steps", "needs", "env", "inputs", "matrix"]
        .map(|name| (name.to_owned(), Shape::Any))
        .into();
    for fault in check(&expression, &contexts, |_| true) {
        assert!(text.is_char_boundary(fault.at), "{fault:?}");
    }
    expression.sign();
    let value = value(&expression);
    assert_eq!(shown(&value), shown(&self::value(&expression)));
    if let Ok(value) = &value {
        assert!(value.to_text().len() <= TEXT_MAX);
    }
    // Deeper expressions may be too deep.
    let same = |around: String, is_opposite: bool| {
        let Ok(other) = parse(&around) else { return };
        let other = self::value(&other);
        match (&value, &other) {
            (Ok(value), Ok(other)) if is_opposite => {
                assert_eq!(value.is_true(), !other.is_true(), "{around}");
            }
            (value, other) if !is_opposite => assert_eq!(shown(value), shown(other), "{around}"),
            (value, other) => assert_eq!(value.is_err(), other.is_err(), "{around}"),
        }
    };
    same(format!("({text})"), false);
    same(format!("!({text})"), true);
    same(format!("true && ({text})"), false);
    same(format!("false || ({text})"), false);
});

fn parsed(text: &str) -> Option<Expression> {
    match parse(text) {
        Ok(expression) => Some(expression),
        Err(error) => {
            assert!(
                error.at <= text.len() && text.is_char_boundary(error.at),
                "{error:?}"
            );
            assert!(!error.found.is_empty());
            None
        }
    }
}

fn value(expression: &Expression) -> Result<Value, Failure> {
    let status = Status {
        success: false,
        failure: true,
        cancelled: false,
    };
    evaluate(expression, &Given, status)
}

/// A number may be NaN, which no comparison calls equal.
fn shown(value: &Result<Value, Failure>) -> String {
    format!("{value:?}")
}

fn as_template(text: &str) {
    match template::segments(text) {
        Ok(segments) => {
            let mut again = String::new();
            for segment in segments {
                match segment {
                    Segment::Text(text) => again.push_str(text),
                    Segment::Expression(inner, at) => {
                        assert_eq!(&text[at..at + inner.len()], inner);
                        again.push_str(&format!("${{{{{inner}}}}}"));
                    }
                }
            }
            assert_eq!(again, text);
        }
        Err(error) => assert!(text[error.at..].starts_with("${{")),
    }
}

fn as_condition(text: &str) {
    let condition = Condition::parse(Some(text));
    if let Condition::Expression(expression) = &condition {
        assert!(text[expression.at..].starts_with(&expression.text));
    }
    let plan = serde_json::json!({ "version": 1, "name": "p", "jobs": { "test": { "steps": [
        { "id": "a", "bash": "x" },
        { "bash": "x", "condition": text, "env": { "A": text }, "workdir": text },
        { "bash": "x", "condition": text },
    ] } } });
    // With one good field and bad ones beside it, this refuses; alone, it may pass.
    let whole = nixactions_plan::parse(plan.to_string().as_bytes());
    let alone = serde_json::json!({ "version": 1, "name": "p", "jobs": { "test": { "steps": [
        { "id": "a", "bash": "x" }, { "bash": "x", "condition": text },
    ] } } });
    let alone = nixactions_plan::parse(alone.to_string().as_bytes());
    assert!(alone.is_ok() || whole.is_err());
    if let (Ok(_), Condition::Expression(expression)) = (alone, condition) {
        assert!(parse(&expression.text).is_ok(), "{text}");
    }
}
