//! The variables in which a job sees what its needs left, `NEEDS_<JOB>_RESULT` and
//! `NEEDS_<JOB>_<KEY>`, and a step what earlier ones left, `STEPS_<ID>_OUTCOME`,
//! `STEPS_<ID>_CONCLUSION` and `STEPS_<ID>_<KEY>`.
//!
//! Several names can come to one variable: outputs `a-b` and `a_b`, the output `sec_result` of
//! `unit_test` and the result of `unit-test-sec`. How a job or step ended always has its variable.
//! An output that meets such a variable, or another output, has none, with a warning: a job must
//! not choose the value that another job's name stands for. Those of needs are all in
//! `$NIXACTIONS_NEEDS`.

use std::collections::BTreeMap;

use super::gate::NeedResult;
use crate::{
    record::Conclusion,
    settings::{Env, upper},
};

/// The most names that a warning lists.
const LISTED: usize = 10;

/// A step with an id that is over, as later steps of its job see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepResult {
    /// Its id.
    pub id: String,
    /// The result before `continueOnError`.
    pub outcome: Conclusion,
    /// The result after `continueOnError`.
    pub conclusion: Conclusion,
    /// The values that it wrote to `$NIXACTIONS_OUTPUT`.
    pub outputs: Env,
}

/// The variables that tell of finished jobs or steps.
#[derive(Debug, PartialEq, Eq)]
pub struct Variables {
    /// How they ended.
    pub results: Env,
    /// Their outputs.
    pub outputs: Env,
    /// A warning for each value that has no variable, with the reason.
    pub warnings: Vec<String>,
}

/// The differences between variables of jobs and of steps.
struct Kind {
    /// The text before the name in a variable.
    prefix: &'static str,
    /// The word for it in a warning.
    word: &'static str,
    /// The advice for an output without a variable.
    help: &'static str,
}

const NEEDS: Kind = Kind {
    prefix: "NEEDS",
    word: "job",
    help: "see $NIXACTIONS_NEEDS",
};
const STEPS: Kind = Kind {
    prefix: "STEPS",
    word: "step",
    help: "give it another name",
};

/// One job or step that is over.
struct Source<'a> {
    name: &'a str,
    /// How it ended: the parts of variables and their values.
    ends: Vec<(&'static str, Conclusion)>,
    outputs: &'a Env,
}

impl Source<'_> {
    fn variable(&self, kind: &Kind, key: &str) -> String {
        format!("{}_{}_{}", kind.prefix, upper(self.name), upper(key))
    }
}

/// Returns the variables of a job's needs.
pub fn of_needs(needs: &[NeedResult]) -> Variables {
    let source = |need: &NeedResult| vec![("RESULT", need.need.conclusion)];
    let sources: Vec<_> = needs
        .iter()
        .map(|need| Source {
            name: need.need.job.as_str(),
            ends: source(need),
            outputs: &need.outputs,
        })
        .collect();
    variables(&NEEDS, &sources)
}

/// Returns the variables of a job's steps that have an id and are over.
pub fn of_steps(steps: &[StepResult]) -> Variables {
    let sources: Vec<_> = steps
        .iter()
        .map(|step| Source {
            name: &step.id,
            ends: vec![("OUTCOME", step.outcome), ("CONCLUSION", step.conclusion)],
            outputs: &step.outputs,
        })
        .collect();
    variables(&STEPS, &sources)
}

fn variables(kind: &Kind, sources: &[Source<'_>]) -> Variables {
    let mut results = Env::new();
    // The meaning of each variable of a result, in words.
    let mut held = BTreeMap::new();
    for source in sources {
        for (end, conclusion) in &source.ends {
            let variable = source.variable(kind, end);
            let what = format!(
                "the {} of {} `{}`",
                end.to_lowercase(),
                kind.word,
                source.name
            );
            held.entry(variable.clone()).or_insert(what);
            results.insert(variable, conclusion.to_string());
        }
    }
    let mut candidates: BTreeMap<String, Vec<(&Source<'_>, &str, &str)>> = BTreeMap::new();
    let mut warnings = Vec::new();
    for source in sources {
        for (key, value) in source.outputs {
            if !is_name(key) || value.contains('\0') {
                warnings.push(format!(
                    "an output of {} `{}` is left out of the environment: {}",
                    kind.word,
                    source.name,
                    if is_name(key) {
                        "its value has a NUL"
                    } else {
                        "its name is not a valid variable name"
                    }
                ));
                continue;
            }
            candidates
                .entry(source.variable(kind, key))
                .or_default()
                .push((source, key, value));
        }
    }
    let (mut outputs, mut meeting) = (Env::new(), Vec::new());
    for (name, candidates) in candidates {
        match &candidates[..] {
            [(_, _, value)] if !results.contains_key(&name) => {
                outputs.insert(name, (*value).to_owned());
            }
            _ => meeting.push((name, candidates)),
        }
    }
    let more = meeting.len().saturating_sub(LISTED);
    for (name, candidates) in meeting.into_iter().take(LISTED) {
        let of = |(source, key, _): &(&Source<'_>, &str, &str)| {
            format!("`{key}` of {} `{}`", kind.word, source.name)
        };
        let all: Vec<_> = candidates.iter().map(of).collect();
        let result = held
            .get(&name)
            .map(|what| format!(", the variable of {what}"));
        warnings.push(format!(
            "{} left out of the environment: {} be `{name}`{}; {}",
            match &all[..] {
                [one] => format!("output {one} is"),
                all => format!("outputs {} are", all.join(" and ")),
            },
            if all.len() == 1 {
                "it would"
            } else {
                "all would"
            },
            result.unwrap_or_default(),
            kind.help,
        ));
    }
    if more > 0 {
        warnings.push(format!(
            "{more} more outputs are left out of the environment for the same reason"
        ));
    }
    Variables {
        results,
        outputs,
        warnings,
    }
}

/// Returns the outputs of a job whose variable is taken by another output or by the job's result.
pub fn alike(outputs: &Env) -> Vec<String> {
    let mut by_variable: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for key in outputs.keys() {
        by_variable.entry(upper(key)).or_default().push(key);
    }
    by_variable
        .into_iter()
        .filter(|(variable, keys)| keys.len() > 1 || variable == "RESULT")
        .flat_map(|(_, keys)| keys.into_iter().map(str::to_owned))
        .collect()
}

/// Returns whether a text can be part of a variable's name. The result of a job that was killed or
/// forged may hold anything.
fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Need;

    fn need(job: &str, outputs: &[(&str, &str)]) -> NeedResult {
        NeedResult {
            need: Need {
                job: job.parse().unwrap(),
                conclusion: Conclusion::Success,
                failed: false,
            },
            outputs: outputs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_result_keeps_its_variable_against_outputs() {
        let of = of_needs(&[
            need(
                "unit_test",
                &[
                    ("sec_result", "forged"),
                    ("result", "forged"),
                    ("fine", "1"),
                ],
            ),
            need("unit-test-sec", &[]),
        ]);
        let expected = ["NEEDS_UNIT_TEST_RESULT", "NEEDS_UNIT_TEST_SEC_RESULT"]
            .map(|name| (name.to_owned(), "success".to_owned()));
        assert_eq!(of.results, expected.into());
        assert_eq!(
            of.outputs,
            [("NEEDS_UNIT_TEST_FINE".to_owned(), "1".to_owned())].into()
        );
        assert_eq!(
            of.warnings,
            [
                "output `result` of job `unit_test` is left out of the environment: it would be \
                 `NEEDS_UNIT_TEST_RESULT`, the variable of the result of job `unit_test`; see $NIXACTIONS_NEEDS",
                "output `sec_result` of job `unit_test` is left out of the environment: it would be \
                 `NEEDS_UNIT_TEST_SEC_RESULT`, the variable of the result of job `unit-test-sec`; see $NIXACTIONS_NEEDS",
            ]
        );
    }

    #[test]
    fn the_outcome_of_a_step_keeps_its_variable_against_outputs() {
        let step = |id: &str, outputs: &[(&str, &str)]| StepResult {
            id: id.to_owned(),
            outcome: Conclusion::Failure,
            conclusion: Conclusion::Success,
            outputs: need("x", outputs).outputs,
        };
        let of = of_steps(&[
            step(
                "a",
                &[
                    ("b_outcome", "forged"),
                    ("Conclusion", "forged"),
                    ("k-1", "1"),
                ],
            ),
            step("a-b", &[]),
        ]);
        let expected = [
            ("STEPS_A_OUTCOME", "failure"),
            ("STEPS_A_CONCLUSION", "success"),
            ("STEPS_A_B_OUTCOME", "failure"),
            ("STEPS_A_B_CONCLUSION", "success"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(of.results, expected.into());
        assert_eq!(
            of.outputs,
            [("STEPS_A_K_1".to_owned(), "1".to_owned())].into()
        );
        assert_eq!(
            of.warnings,
            [
                "output `b_outcome` of step `a` is left out of the environment: it would be \
                 `STEPS_A_B_OUTCOME`, the variable of the outcome of step `a-b`; give it another name",
                "output `Conclusion` of step `a` is left out of the environment: it would be \
                 `STEPS_A_CONCLUSION`, the variable of the conclusion of step `a`; give it another name",
            ]
        );
    }

    #[test]
    fn outputs_with_the_same_variable_have_none() {
        let of = of_needs(&[
            need("a", &[("x-y", "1"), ("x_y", "2"), ("z", "3")]),
            need("a-x", &[("y", "4")]),
            need("b", &[("K", "5"), ("k", "6")]),
        ]);
        assert_eq!(
            of.outputs,
            [("NEEDS_A_Z".to_owned(), "3".to_owned())].into()
        );
        assert_eq!(
            of.warnings,
            [
                "outputs `x-y` of job `a` and `x_y` of job `a` and `y` of job `a-x` are left out of the \
                 environment: all would be `NEEDS_A_X_Y`; see $NIXACTIONS_NEEDS",
                "outputs `K` of job `b` and `k` of job `b` are left out of the environment: all would be \
                 `NEEDS_B_K`; see $NIXACTIONS_NEEDS",
            ]
        );
        assert_eq!(
            alike(&need("b", &[("K", "5"), ("k", "6"), ("Result", "")]).outputs),
            ["K", "k", "Result"]
        );
    }

    #[test]
    fn invalid_names_and_values_are_left_out() {
        let of = of_needs(&[need(
            "a",
            &[("x=y", "1"), ("n", "a\0b"), ("good", "2"), ("", "3")],
        )]);
        assert_eq!(of.outputs.len(), 1);
        assert_eq!(of.warnings.len(), 3);
    }

    #[test]
    fn a_thousand_conflicting_outputs_give_few_warnings() {
        let keys: Vec<(String, String)> = (0..1000)
            .map(|n| (format!("k-{n}"), format!("k_{n}")))
            .collect();
        let outputs: Vec<(&str, &str)> = keys
            .iter()
            .flat_map(|(a, b)| [(a.as_str(), ""), (b.as_str(), "")])
            .collect();
        assert_eq!(of_needs(&[need("a", &outputs)]).warnings.len(), LISTED + 1);
    }
}
