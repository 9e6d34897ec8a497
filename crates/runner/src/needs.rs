//! The variables with the results and outputs of a job's needs: `NEEDS_<JOB>_RESULT` and
//! `NEEDS_<JOB>_<KEY>`.
//!
//! Several outputs may have the same variable: outputs `a-b` and `a_b`, or the output `sec_result`
//! of `unit_test` and the result of `unit-test-sec`. A result always has its variable. An output
//! whose variable is taken by a result or another output has none, and the log has a warning: a job
//! must not choose the value of another job's variable. `$NIXACTIONS_NEEDS` holds all of them.

use std::collections::BTreeMap;

use super::gate::NeedResult;
use crate::settings::{Env, upper};

/// The most names that a warning lists.
const LISTED: usize = 10;

/// The variables of a job's needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Variables {
    /// The conclusions of the needs.
    pub results: Env,
    /// The outputs of the needs.
    pub outputs: Env,
    /// The outputs without a variable, each with the reason.
    pub warnings: Vec<String>,
}

/// Returns the variables of a job's needs.
pub fn variables(needs: &[NeedResult]) -> Variables {
    let results: Env = needs
        .iter()
        .map(|need| {
            let result = need.need.conclusion.to_string();
            (variable(need, "RESULT"), result)
        })
        .collect();
    let mut candidates: BTreeMap<String, Vec<(&NeedResult, &str, &str)>> = BTreeMap::new();
    let mut warnings = Vec::new();
    for need in needs {
        for (key, value) in &need.outputs {
            if !is_name(key) || value.contains('\0') {
                warnings.push(format!(
                    "an output of job `{}` is left out of the environment: {}",
                    need.need.job,
                    if is_name(key) {
                        "its value has a NUL"
                    } else {
                        "its name is not a valid variable name"
                    }
                ));
                continue;
            }
            candidates
                .entry(variable(need, key))
                .or_default()
                .push((need, key, value));
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
        let of = |(need, key, _): &(&NeedResult, &str, &str)| {
            format!("`{key}` of job `{}`", need.need.job)
        };
        let all: Vec<_> = candidates.iter().map(of).collect();
        let result = needs
            .iter()
            .find(|need| variable(need, "RESULT") == name)
            .map(|need| format!(", the variable of the result of job `{}`", need.need.job));
        warnings.push(format!(
            "{} left out of the environment: {} be `{name}`{}; see $NIXACTIONS_NEEDS",
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

fn variable(need: &NeedResult, key: &str) -> String {
    format!("NEEDS_{}_{}", upper(need.need.job.as_str()), upper(key))
}

/// Returns whether a text can be part of a variable's name. The result of a killed or forged job
/// may hold anything.
fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Conclusion, status::Need};

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
        let of = variables(&[
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
    fn outputs_with_the_same_variable_have_none() {
        let of = variables(&[
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
        let of = variables(&[need(
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
        assert_eq!(variables(&[need("a", &outputs)]).warnings.len(), LISTED + 1);
    }
}
