//! The value of an expression.

use std::rc::Rc;

use crate::{
    functions::{self, Failure, Function},
    parser::{Expression, Node, Operator, Part},
    value::Value,
};

/// The values of the status functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// `success()`
    pub success: bool,
    /// `failure()`
    pub failure: bool,
    /// `cancelled()`
    pub cancelled: bool,
}

/// The contexts and functions of the place where an expression stands.
pub trait Contexts {
    /// Returns the value of a context, in lower case; [`Value::Null`] where there is none.
    fn context(&self, name: &str) -> Value;

    /// Returns the digest of the files that match some patterns, or why it cannot be told.
    ///
    /// # Errors
    /// A file cannot be read.
    fn hash_files(&self, patterns: &[Rc<str>]) -> Result<String, String>;
}

/// Returns the value of an expression.
///
/// # Errors
/// A function cannot be computed; the text says which and why, and repeats no value.
pub fn evaluate(
    expression: &Expression,
    contexts: &dyn Contexts,
    status: Status,
) -> Result<Value, Failure> {
    Evaluation { contexts, status }.value(&expression.root)
}

struct Evaluation<'a> {
    contexts: &'a dyn Contexts,
    status: Status,
}

/// A value, or the values that a `*` has found. The next access applies to each of them.
enum Found {
    One(Value),
    Each(Vec<Value>),
}

impl Found {
    fn value(self) -> Value {
        match self {
            Self::One(value) => value,
            Self::Each(values) => Value::List(Rc::new(values)),
        }
    }

    /// Accesses a property or an element. The values of a `*` leave out missing ones.
    fn look_up(self, look: impl Fn(&Value) -> Value) -> Self {
        match self {
            Self::One(value) => Self::One(look(&value)),
            Self::Each(values) => {
                let found = values.iter().map(look);
                Self::Each(found.filter(|value| *value != Value::Null).collect())
            }
        }
    }
}

impl Evaluation<'_> {
    fn value(&self, node: &Node) -> Result<Value, Failure> {
        let mut chain = node.chain();
        let Some(first) = chain.pop() else {
            return Ok(Value::Null);
        };
        let mut found = Found::One(self.begin(first)?);
        while let Some(node) = chain.pop() {
            found = self.go_on(node, found)?;
        }
        Ok(found.value())
    }

    /// Evaluates the first part of a chain of accesses.
    fn begin(&self, node: &Node) -> Result<Value, Failure> {
        match &node.part {
            Part::Literal(value) => Ok(value.clone()),
            Part::Name(name) => Ok(self.contexts.context(&name.to_ascii_lowercase())),
            Part::Not(of) => Ok(Value::Bool(!self.value(of)?.is_true())),
            Part::Call(name, arguments) => self.call(name, arguments),
            Part::Property(..) | Part::Index(..) | Part::Star(_) | Part::Binary(..) => {
                Ok(Value::Null)
            }
        }
    }

    /// Evaluates a part whose first part is known.
    fn go_on(&self, node: &Node, found: Found) -> Result<Found, Failure> {
        Ok(match &node.part {
            Part::Property(_, name, _) => found.look_up(|value| value.get(name)),
            Part::Index(_, index) => {
                let index = self.value(index)?;
                found.look_up(|value| item(value, &index))
            }
            Part::Star(_) => {
                let values = match found {
                    Found::One(value) => parts(&value),
                    Found::Each(values) => values.iter().flat_map(parts).collect(),
                };
                Found::Each(values)
            }
            Part::Binary(operator, _, right) => {
                Found::One(self.binary(*operator, found.value(), right)?)
            }
            Part::Literal(_) | Part::Name(_) | Part::Call(..) | Part::Not(_) => found,
        })
    }

    fn binary(&self, operator: Operator, left: Value, right: &Node) -> Result<Value, Failure> {
        match operator {
            Operator::And if !left.is_true() => return Ok(left),
            Operator::Or if left.is_true() => return Ok(left),
            _ => {}
        }
        let right = self.value(right)?;
        let compared = left.compare(&right);
        Ok(Value::Bool(match operator {
            Operator::And | Operator::Or => return Ok(right),
            Operator::Equal => left.equals(&right),
            Operator::NotEqual => !left.equals(&right),
            Operator::Greater => compared.is_some_and(|order| order.is_gt()),
            Operator::GreaterOrEqual => compared.is_some_and(|order| order.is_ge()),
            Operator::Less => compared.is_some_and(|order| order.is_lt()),
            Operator::LessOrEqual => compared.is_some_and(|order| order.is_le()),
        }))
    }

    fn call(&self, name: &str, arguments: &[Node]) -> Result<Value, Failure> {
        let function = Function::find(name).ok_or_else(|| format!("unknown function `{name}`"))?;
        let (least, most) = function.arity();
        if !(least..=most).contains(&arguments.len()) {
            return Err(format!("`{name}`: wrong number of arguments").into());
        }
        let values = arguments
            .iter()
            .map(|argument| self.value(argument))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(match (function, &values[..]) {
            (Function::Success, _) => Value::Bool(self.status.success),
            (Function::Failure, _) => Value::Bool(self.status.failure),
            (Function::Cancelled, _) => Value::Bool(self.status.cancelled),
            (Function::Always, _) => Value::Bool(true),
            (Function::Contains, [search, item]) => Value::Bool(functions::contains(search, item)),
            (Function::StartsWith, [text, part]) => {
                Value::Bool(functions::texts(text, part, |text: &str, part: &str| {
                    text.starts_with(part)
                }))
            }
            (Function::EndsWith, [text, part]) => {
                Value::Bool(functions::texts(text, part, |text: &str, part: &str| {
                    text.ends_with(part)
                }))
            }
            (Function::Format, [text, values @ ..]) => {
                Value::text(functions::format(&text.to_text(), values)?)
            }
            (Function::Join, [items, rest @ ..]) => {
                Value::Text(functions::join(items, rest.first())?)
            }
            (Function::ToJson, [value]) => Value::text(functions::to_json(value)?),
            (Function::FromJson, [text]) => functions::from_json(&text.to_text())?,
            (Function::HashFiles, patterns) => {
                let patterns: Vec<_> = patterns.iter().map(Value::to_text).collect();
                Value::text(self.contexts.hash_files(&patterns)?)
            }
            _ => Value::Null,
        })
    }
}

/// Returns the element at an index: of an object by name, of a list by number from 0.
fn item(value: &Value, index: &Value) -> Value {
    match value {
        Value::Object(_) if index.is_simple() => value.get(&index.to_text()),
        Value::List(items) => {
            let number = index.to_number();
            if number >= 0.0 && number < items.len() as f64 {
                return items.get(number as usize).cloned().unwrap_or(Value::Null);
            }
            Value::Null
        }
        _ => Value::Null,
    }
}

/// Returns all that is in a list or an object.
fn parts(value: &Value) -> Vec<Value> {
    match value {
        Value::List(items) => items.to_vec(),
        Value::Object(entries) => entries.iter().map(|(_, value)| value.clone()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parser::parse;

    struct Fixture;

    impl Contexts for Fixture {
        fn context(&self, name: &str) -> Value {
            let json = match name {
                "needs" => {
                    r#"{ "build": { "result": "success", "outputs": { "targets": "[\"a\",\"b\"]", "Version": "1.2" } },
                         "test": { "result": "failure", "outputs": {} } }"#
                }
                "env" => r#"{ "A": "one", "EMPTY": "", "N": "3", "JSON": "not json" }"#,
                _ => return Value::Null,
            };
            serde_json::from_str(json).unwrap()
        }
        fn hash_files(&self, patterns: &[Rc<str>]) -> Result<String, String> {
            Ok(format!("hash of {}", patterns.join(" ")))
        }
    }

    const FAILED: Status = Status {
        success: false,
        failure: true,
        cancelled: false,
    };

    fn value(text: &str) -> Result<Value, String> {
        evaluate(&parse(text).unwrap(), &Fixture, FAILED).map_err(|why| why.to_string())
    }

    fn text(of: &str) -> String {
        let value = value(of).unwrap_or_else(|error| panic!("{of}: {error}"));
        value.to_text().to_string()
    }

    /// GitHub's table of loose equality, and what its documentation says beside it.
    #[test]
    fn operators_are_as_loose_as_githubs() {
        for truth in [
            "'a' == 'A'",
            "'é' == 'É'",
            "null == ''",
            "null == 0",
            "null == false",
            "true == 1",
            "'' == 0",
            "'0x10' == 16",
            "' 1 ' == true",
            "'abc' != 1",
            "NaN != NaN",
            "!(NaN < 1) && !(NaN >= 1)",
            "'b' > 'A'",
            "2 < '10'",
            "fromJSON('[]') != fromJSON('[]')",
            "!''",
            "!0",
            "!null",
            "!NaN",
            "!!'0'",
            "!!fromJSON('{}')",
            "1 < 2 == true",
            "!false && !false",
        ] {
            assert_eq!(text(truth), "true", "{truth}");
        }
        assert_eq!(text("'a' && 'b'"), "b");
        assert_eq!(text("'' || 'b'"), "b");
        assert_eq!(
            text("'' && fromJSON('x')"),
            "",
            "the right side is not asked"
        );
        assert_eq!(text("'a' || fromJSON('x')"), "a");
        assert_eq!(text("false || 0"), "0");
        assert_eq!(text("true || false && false"), "true");
    }

    #[test]
    fn a_missing_value_is_empty() {
        assert_eq!(value("needs.none.outputs.x").unwrap(), Value::Null);
        assert_eq!(text("env.none"), "");
        assert_eq!(text("env['a']"), "one");
        assert_eq!(text("needs.BUILD.outputs.version"), "1.2");
        assert_eq!(text("fromJSON(needs.build.outputs.targets)[1]"), "b");
        assert_eq!(text("fromJSON('[1,2]')[9]"), "");
        assert_eq!(text("fromJSON('[1,2]')['1']"), "2");
        assert_eq!(text("fromJSON('[1,2]')[-1]"), "");
        assert_eq!(text("needs.build.result.no"), "");
        assert_eq!(text("unknown.x"), "");
    }

    #[test]
    fn a_star_looks_into_each() {
        assert_eq!(text("join(needs.*.result)"), "success,failure");
        assert_eq!(text("contains(needs.*.result, 'FAILURE')"), "true");
        assert_eq!(text("contains(needs.*.result, 'fail')"), "false");
        assert_eq!(text("join(needs.*.outputs.version, '-')"), "1.2");
        assert_eq!(text("join(needs[*].outputs['version'])"), "1.2");
        assert_eq!(text("join(fromJSON('[[1,2],[3]]').*.*)"), "1,2,3");
        assert_eq!(text("env.A.*"), "Array");
    }

    #[test]
    fn functions_give_the_same_results_as_on_github() {
        for (from, to) in [
            ("contains('Hello', 'LL')", "true"),
            ("contains(fromJSON('[1,\"a\"]'), '1')", "true"),
            ("contains(env, 'one')", "false"),
            ("startsWith('Hello', 'he')", "true"),
            ("endsWith('Hello', 'LO')", "true"),
            ("startsWith(env, '')", "false"),
            ("format('{0} {1} {0} {{0}}', 'a', 2)", "a 2 a {0}"),
            ("format('none')", "none"),
            (
                "join(fromJSON('[1,true,null,\"x\"]'), ' + ')",
                "1 + true +  + x",
            ),
            ("join('text', '-')", "text"),
            ("join(fromJSON('[]'))", ""),
            ("toJSON('a\"b')", "\"a\\\"b\""),
            ("toJSON(null)", "null"),
            (
                "toJSON(fromJSON('{\"b\":[1,{}],\"a\":[]}'))",
                "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}",
            ),
            ("fromJSON('1.50')", "1.5"),
            ("fromJSON('true')", "true"),
            ("hashFiles('a', 'b*')", "hash of a b*"),
            (
                "failure() && !success() && always() && !cancelled()",
                "true",
            ),
            ("FAILURE() && ToJson(1)", "1"),
            ("1e3", "1000"),
        ] {
            assert_eq!(text(from), to, "{from}");
        }
    }

    #[test]
    fn errors_say_which_function_and_repeat_no_value() {
        for (from, error) in [
            (
                "fromJSON(env.JSON)",
                "`fromJSON`: the text is not JSON (line 1, column 2)",
            ),
            ("fromJSON('')", "`fromJSON`: the text is empty"),
            (
                "format('{1}', 'a')",
                "`format`: there is no value for `{1}`",
            ),
            (
                "format('{a}', 'a')",
                "`format`: between braces stands the number of a value",
            ),
            (
                "format('a}', 'a')",
                "`format`: a single `}`; write it twice",
            ),
            ("format('{', 'a')", "`format`: a single `{`; write it twice"),
        ] {
            assert_eq!(value(from).unwrap_err(), error);
        }
    }

    #[test]
    fn a_text_cannot_grow_without_bound() {
        let twice = "{0}".repeat(4);
        let nested = (0..20).fold("'xxxxxxxx'".to_owned(), |of, _| {
            format!("format('{twice}', {of})")
        });
        assert_eq!(
            value(&nested).unwrap_err(),
            "`format`: the text has more than 1048576 bytes"
        );
    }

    #[test]
    fn an_object_with_many_names_is_read_in_time() {
        let entries: Vec<_> = (0..100_000).map(|n| format!("\"k{n}\":0")).collect();
        let began = std::time::Instant::now();
        let json = format!("{{{},\"k0\":1}}", entries.join(","));
        let value = functions::from_json(&json).unwrap();
        assert_eq!(
            value.get("k0"),
            Value::Number(1.0),
            "the later value counts"
        );
        assert_eq!(parts(&value).len(), 100_000);
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }

    proptest! {
        /// The parser panics at no text, and an error points into the text.
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
            match parse(&text) {
                Ok(expression) => _ = evaluate(&expression, &Fixture, FAILED),
                Err(error) => prop_assert!(text.is_char_boundary(error.at)),
            }
        }

        #[test]
        fn no_expression_breaks_the_evaluation(words in proptest::collection::vec(
            prop::sample::select(vec![
                "needs", "env", ".", "*", "build", "result", "[", "]", "(", ")", "!", "==", "!=", "<", "<=", ">",
                ">=", "&&", "||", ",", "'a'", "'{0}'", "1", "-1e9", "NaN", "null", "true", "format", "join",
                "contains", "toJSON", "fromJSON", "startsWith", "hashFiles", "success", "'[1,{\"a\":2}]'", " ",
            ]), 0..25)) {
            if let Ok(expression) = parse(&words.concat()) {
                _ = evaluate(&expression, &Fixture, FAILED).map(|value| value.to_text());
            }
        }
    }
}
