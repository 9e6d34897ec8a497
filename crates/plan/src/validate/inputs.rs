//! Checks inputs: their declarations in the plan and the values from a caller.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    fault::{At, Refusal, Sink, nearest, quoted, shown},
    ids::JobName,
    model::{Env, Input, InputType, Plan},
    rules,
    structure::NAME_FORM,
};

pub(super) fn check(plan: &Plan, at: &At<'_>, sink: &mut Sink) {
    let mut variables: BTreeMap<String, &str> = BTreeMap::new();
    for (name, input) in &plan.inputs {
        let at = at.key(name);
        if let Err(error) = JobName::try_from(name.clone()) {
            sink.add(&at, || {
                Refusal::new(quoted(name), NAME_FORM).hint(error.to_string())
            });
        }
        if let Some(other) = variables.insert(rules::input_variable(name), name) {
            let found = format!(
                "an input with the variable `{}`, which `{other}` has, too",
                rules::input_variable(name)
            );
            sink.add(&at, || {
                Refusal::new(found, "an input with a variable of its own")
            });
        }
        check_options(input, &at, sink);
        if let Some(default) = &input.default {
            let at_default = at.key("default");
            if input.required {
                sink.add(&at_default, || {
                    Refusal::new(
                        "a default of a required input",
                        "either `required` or a `default`",
                    )
                });
            }
            if !sink.is_broken(&at.key("type")) && !sink.is_broken(&at.key("options")) {
                sink.check(&at_default, check_default(name, input, default));
            }
        }
    }
}

fn check_options(input: &Input, at: &At<'_>, sink: &mut Sink) {
    let at_options = at.key("options");
    if sink.is_broken(&at.key("type")) {
        return;
    }
    match (input.kind, input.options.is_empty()) {
        (InputType::Choice, true) => sink.add(&at_options, || {
            Refusal::new("no options", "the options of the `choice`")
        }),
        (InputType::String | InputType::Number | InputType::Boolean, false) => {
            sink.add(&at_options, || {
                Refusal::new("options", "none (only a `choice` has options)")
            });
        }
        _ => {}
    }
    for (i, option) in input.options.iter().enumerate() {
        sink.check(&at_options.index(i), rules::variable_value("", option));
        if input.options[..i].contains(option) {
            sink.add(&at_options.index(i), || {
                Refusal::new(format!("{} again", quoted(option)), "each option once")
            });
        }
    }
}

fn check_default(name: &str, input: &Input, default: &Value) -> Result<(), Refusal> {
    let fits = match input.kind {
        InputType::String | InputType::Choice => default.is_string(),
        InputType::Number => default.is_number(),
        InputType::Boolean => default.is_boolean(),
    };
    if !fits {
        let expected = match input.kind {
            InputType::String => "a text (`type` is `string`)",
            InputType::Choice => "one of the options",
            InputType::Number => "a number (`type` is `number`)",
            InputType::Boolean => "true or false (`type` is `boolean`)",
        };
        return Err(Refusal::new(shown(default), expected));
    }
    check_text(name, input, &text_of(default))
}

/// Checks the text of an input's value.
fn check_text(name: &str, input: &Input, text: &str) -> Result<(), Refusal> {
    let refuse = |expected: &str| Err(Refusal::new(quoted(text), expected));
    match input.kind {
        InputType::String => {}
        InputType::Number if serde_json::from_str::<serde_json::Number>(text).is_err() => {
            return refuse("a number");
        }
        InputType::Boolean if !matches!(text, "true" | "false") => return refuse("true or false"),
        InputType::Choice if !input.options.iter().any(|option| option == text) => {
            let options = input
                .options
                .iter()
                .map(|option| format!("`{option}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let near = nearest(text, input.options.iter().map(String::as_str))
                .map(|near| format!("did you mean `{near}`?"));
            return Err(Refusal::new(quoted(text), format!("one of {options}")).maybe_hint(near));
        }
        InputType::Number | InputType::Boolean | InputType::Choice => {}
    }
    rules::variable_value(&rules::input_variable(name), text)
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The error of an `--input K=V`, or of a missing one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The plan does not declare the input.
    #[error("the plan has no input `{name}`")]
    Unknown {
        /// The name of the input.
        name: String,
        /// The nearest declared input, or all declared inputs.
        hint: Option<String>,
    },
    /// The value does not fit the input.
    #[error("input `{name}` is {found}, expected {expected}")]
    Unfit {
        /// The name of the input.
        name: String,
        /// The given value.
        found: String,
        /// The values that fit.
        expected: String,
    },
    /// The caller did not give a required input.
    #[error("input `{name}` is required")]
    Missing {
        /// The name of the input.
        name: String,
    },
}

/// Returns the `INPUT_<K>` variables of a run, from the given values and the defaults. An input
/// without either has no variable.
///
/// # Errors
/// All inputs that are unknown, do not fit or are missing.
pub fn resolve_inputs(
    plan: &Plan,
    given: &BTreeMap<String, String>,
) -> Result<Env, Vec<InputError>> {
    let mut variables = Env::new();
    let mut errors = Vec::new();
    for name in given.keys().filter(|name| !plan.inputs.contains_key(*name)) {
        let hint = crate::fault::suggest(name, plan.inputs.keys().map(String::as_str));
        errors.push(InputError::Unknown {
            name: name.clone(),
            hint,
        });
    }
    for (name, input) in &plan.inputs {
        let text = given
            .get(name)
            .cloned()
            .or_else(|| input.default.as_ref().map(text_of));
        match text.map(|text| check_text(name, input, &text).map(|()| text)) {
            Some(Ok(text)) => drop(variables.insert(rules::input_variable(name), text)),
            Some(Err(Refusal {
                found, expected, ..
            })) => errors.push(InputError::Unfit {
                name: name.clone(),
                found,
                expected,
            }),
            None if input.required => errors.push(InputError::Missing { name: name.clone() }),
            None => {}
        }
    }
    if errors.is_empty() {
        Ok(variables)
    } else {
        Err(errors)
    }
}

/// Returns the values of a run's inputs by name, from their variables: numbers and booleans where
/// the plan says that they are some.
pub fn input_values(plan: &Plan, variables: &Env) -> BTreeMap<String, Value> {
    let value = |name: &String, input: &Input| {
        let text = variables.get(&rules::input_variable(name))?;
        let value = match input.kind {
            InputType::Number | InputType::Boolean => serde_json::from_str(text).ok(),
            InputType::String | InputType::Choice => None,
        };
        Some(value.unwrap_or_else(|| Value::from(text.as_str())))
    };
    let values = plan.inputs.iter();
    values
        .filter_map(|(name, input)| Some((name.clone(), value(name, input)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(given: &[(&str, &str)]) -> Result<Env, Vec<String>> {
        let plan = crate::parse(
            br#"{ "version": 1, "name": "a", "jobs": { "a": { "steps": [{ "bash": "x" }] } }, "inputs": {
                "the-text": { "type": "string", "required": true }, "count": { "type": "number", "default": 1.5 }, "on": { "type": "boolean", "default": false },
                "stage": { "type": "choice", "options": ["dev", "prod"] } } }"#,
        )
        .unwrap();
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        resolve_inputs(&plan, &given)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn given_inputs_come_before_defaults() {
        let variables = resolve(&[("the-text", "x=y"), ("on", "true")]).unwrap();
        let expected = [
            ("INPUT_COUNT", "1.5"),
            ("INPUT_ON", "true"),
            ("INPUT_THE_TEXT", "x=y"),
        ];
        assert_eq!(
            variables,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
    }

    #[test]
    fn every_bad_input_is_reported() {
        let errors = resolve(&[
            ("count", "many"),
            ("on", "yes"),
            ("stage", "pord"),
            ("stag", "x"),
        ])
        .unwrap_err();
        let expected = [
            "the plan has no input `stag`",
            "input `count` is \"many\", expected a number",
            "input `on` is \"yes\", expected true or false",
            "input `stage` is \"pord\", expected one of `dev`, `prod`",
            "input `the-text` is required",
        ];
        assert_eq!(errors, expected);
    }
}
