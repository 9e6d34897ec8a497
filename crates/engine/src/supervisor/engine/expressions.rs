//! Conditions that are expressions, for jobs whose runner has left no word of them. A runner knows
//! all values. The
//! supervisor knows how the needs ended, and neither their outputs nor the variables of the job.

use std::{collections::BTreeMap, rc::Rc};

use nixactions_expression::{Contexts, Shape, Status, Value, check, evaluate, parse};

use crate::{
    plan::{Env, Job, Plan, input_values},
    status::{Expression, Need},
};

/// The facts about a job that the supervisor knows and a condition may ask for.
pub(super) struct Known<'a> {
    pub(super) plan: &'a Plan,
    pub(super) job: &'a Job,
    pub(super) inputs: &'a Env,
    pub(super) needs: &'a [Need],
}

impl Contexts for Known<'_> {
    fn context(&self, name: &str) -> Value {
        match name {
            "needs" => Value::object(self.needs.iter().map(|need| {
                let result = Value::text(need.conclusion.as_str());
                (need.job.to_string(), Value::object([("result", result)]))
            })),
            "inputs" => {
                let values = input_values(self.plan, self.inputs);
                Value::object(
                    values
                        .iter()
                        .map(|(name, value)| (name.clone(), Value::from(value))),
                )
            }
            "matrix" => {
                let values = self.job.matrix.iter().flat_map(|matrix| &matrix.values);
                Value::object(values.map(|(key, value)| {
                    let value = serde_json::Value::from(value.clone());
                    (key.clone(), Value::from(&value))
                }))
            }
            _ => Value::Null,
        }
    }

    fn hash_files(&self, _: &[Rc<str>]) -> Result<String, String> {
        Err("a job's condition has no files".to_owned())
    }
}

impl Known<'_> {
    /// Tells whether an expression is true. One that asks for more than is known here counts as
    /// true where `success()` or `failure()` would be.
    pub(super) fn is_true(&self, expression: &Expression, status: Status) -> Result<bool, String> {
        let parsed = parse(&expression.text).map_err(|error| error.to_string())?;
        let result = || Shape::names([("result", Shape::Simple)]);
        let needs = self.needs.iter();
        let contexts: BTreeMap<String, Shape> = [
            (
                "needs",
                Shape::names(needs.map(|need| (need.job.to_string(), result()))),
            ),
            ("inputs", Shape::Each(Box::new(Shape::Simple))),
            ("matrix", Shape::Each(Box::new(Shape::Simple))),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        if check(&parsed, &contexts, |_| true).is_empty() {
            evaluate(&parsed, self, status)
                .map(|value| value.is_true())
                .map_err(|why| why.to_string())
        } else {
            Ok(status.success || status.failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Conclusion, status::Condition};

    #[test]
    fn a_condition_needs_only_the_facts_that_decide_it() {
        let plan = crate::plan::parse(
            br#"{ "version": 1, "name": "a", "inputs": { "on": { "type": "boolean" } },
                  "jobs": { "a": { "steps": [{ "bash": "x" }] }, "b": { "needs": ["a"], "steps": [{ "bash": "x" }] } } }"#,
        )
        .unwrap();
        let need = Need {
            job: "a".parse().unwrap(),
            conclusion: Conclusion::Skipped,
            failed: false,
        };
        let inputs = [("INPUT_ON".to_owned(), "true".to_owned())].into();
        let known = Known {
            plan: &plan,
            job: plan.jobs.values().next_back().unwrap(),
            inputs: &inputs,
            needs: &[need],
        };
        let is_true = |text: &str, failure| {
            let Condition::Expression(expression) = Condition::parse(Some(text)) else {
                panic!("{text} is not an expression");
            };
            let status = Status {
                success: false,
                failure,
                cancelled: false,
            };
            known.is_true(&expression, status).unwrap()
        };
        assert!(is_true("always() && needs.a.result == 'skipped'", false));
        assert!(!is_true("always() && needs.a.result == 'success'", true));
        assert!(is_true("!cancelled() && inputs.on == true", false));
        assert!(!is_true("always() && needs.a.outputs.x == ''", false));
        assert!(is_true("always() && env.A == 'x'", true));
    }
}
