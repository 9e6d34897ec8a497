//! Compares what a case expects with what was found: both become JSON of the same form, so that a
//! difference can be read.
//!
//! Some facts are not values: an order, or a text in some place. If such a fact is true, both sides
//! hold it as the case states it. Otherwise one side holds the finding instead.

use std::{fmt::Write as _, fs, path::Path, path::PathBuf};

use jiff::Timestamp;
use libtest_mimic::Failed;
use nixactions_harness::{CommandExt as _, Finished};
use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use crate::{
    case::{Expect, Then},
    place::Place,
};

/// The output of a command of the case.
pub struct Spoken {
    /// Its exit status.
    pub exit: i32,
    /// Its output and errors.
    pub text: String,
}

/// All that was found of a run.
pub struct Found<'a> {
    /// Where, and beside which other runs.
    pub place: Place<'a>,
    /// The plan.
    pub plan: &'a str,
    /// The expectations.
    pub expect: &'a Expect,
    /// The run; none where it was refused.
    pub finished: Option<Finished>,
    /// The standard error of `run`.
    pub stderr: String,
    /// The exit status of `run`.
    pub exit: i32,
    /// The commands after it.
    pub then: &'a [Then],
    /// Their output.
    pub spoken: Vec<Spoken>,
}

impl Found<'_> {
    /// Returns an error with the difference, if there is one.
    pub fn compare(&self, name: &str) -> Result<(), Failed> {
        let (expected, found) = self.both();
        if let (true, Some(finished)) = (self.expect.leaves_nothing, &self.finished) {
            finished.leaves_nothing(self.place.manager);
        }
        if expected == found {
            return Ok(());
        }
        let kept = self.keep(name);
        let (expected, found) = (format!("{expected:#}\n"), format!("{found:#}\n"));
        let mut text = format!(
            "expected (-) and found (+) differ; the record is kept in `{}`\n",
            kept.display()
        );
        for group in TextDiff::from_lines(&expected, &found).grouped_ops(4) {
            text.push_str("  ...\n");
            for change in group.iter().flat_map(|op| {
                TextDiff::from_lines(&expected, &found)
                    .iter_changes(op)
                    .collect::<Vec<_>>()
            }) {
                let sign = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                let _ = write!(text, "{sign} {change}");
            }
        }
        Err(text.into())
    }

    /// Returns the expected and the found values, in one form.
    fn both(&self) -> (Value, Value) {
        let expect = self.expect;
        let conclusion = match expect.exit {
            0 => json!("success"),
            1 => json!("failure"),
            130 => json!("cancelled"),
            _ => Value::Null,
        };
        let record = self
            .finished
            .as_ref()
            .map_or(&Value::Null, |finished| &finished.record);
        let jobs: Map<String, Value> = record["jobs"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, job)| (name.clone(), self.job(name, job)))
            .collect();
        let mut facts = Facts::default();
        facts.add("stderr", &expect.stderr, |text| {
            found_in(text, &self.plain(&self.stderr))
        });
        facts.add("order", &expect.order, |order| self.order(order));
        facts.add("nowhere", &expect.nowhere, |secret| self.search(secret));
        facts.add("journal", &expect.journal, |fields| self.journal(fields));
        facts.add("files", expect.files.iter(), |(path, _)| {
            let text = fs::read_to_string(self.place.manager.file(self.place.directory.join(path)));
            (
                path,
                text.map_or_else(|error| error.to_string(), |text| self.plain(&text)),
            )
        });
        for (then, spoken) in self.then.iter().zip(&self.spoken) {
            let text = self.plain(&spoken.text);
            let what = then
                .bash
                .clone()
                .unwrap_or_else(|| then.nixactions.join(" "));
            facts.one(format!("then {what}"), json!(then.exit), json!(spoken.exit));
            if then.exit != spoken.exit {
                facts.one("its output", json!(null), json!(text));
            }
            if let Some(prints) = &then.prints {
                facts.one("prints", json!(prints), json!(text));
            }
            facts.add("says", &then.says, |part| found_in(part, &text));
        }
        if let Some(peak) = expect.peak {
            facts.one("peak", json!(peak), json!(self.peak()));
        }
        let expected = json!({ "exit": expect.exit, "conclusion": conclusion, "reason": expect.reason, "jobs": expect.jobs, "facts": facts.expected });
        let found = json!({ "exit": self.exit, "conclusion": record["conclusion"], "reason": self.plain_value(&record["reason"]), "jobs": jobs, "facts": facts.found });
        (expected, found)
    }

    /// Returns a job's record with what it printed, as far as the case speaks of it.
    fn job(&self, name: &str, record: &Value) -> Value {
        let mut record = self.plain_value(record);
        let Some(expected) = self.expect.jobs.get(name) else {
            return record;
        };
        let lines = self
            .finished
            .as_ref()
            .map(|finished| finished.lines(name))
            .unwrap_or_default();
        record["log"] = lines.into_iter().map(|line| self.plain(line)).collect();
        let steps = expected.get("steps").and_then(Value::as_array);
        for (index, step) in record["steps"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .enumerate()
        {
            if let Some(expected) = steps.and_then(|steps| steps.get(index)) {
                *step = project(step, expected.as_object().expect("a step is a table"));
            }
        }
        project(&record, expected)
    }

    /// Returns a text without what differs from run to run: ids and directories.
    fn plain(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // `case-1` is the beginning of `case-12`.
        let mut runs: Vec<_> = self.place.runs.iter().collect();
        runs.sort_by_key(|(_, id)| std::cmp::Reverse(id.len()));
        for (name, id) in runs {
            text = text
                .replace(&self.place.run_dir(id), &format!("@{name}_DIR@"))
                .replace(id, &format!("@{name}@"));
        }
        text.replace(&*self.place.directory.to_string_lossy(), "@DIR@")
    }

    fn plain_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.plain(text).into(),
            Value::Array(values) => values.iter().map(|value| self.plain_value(value)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), self.plain_value(value)))
                .collect(),
            other => other.clone(),
        }
    }

    /// Returns when a job began and ended.
    fn times(&self, job: &str) -> Option<(Timestamp, Timestamp)> {
        let record = &self.finished.as_ref()?.record["jobs"][job];
        Some((
            record["startedAt"].as_str()?.parse().ok()?,
            record["finishedAt"].as_str()?.parse().ok()?,
        ))
    }

    fn order(&self, order: &str) -> Value {
        let words: Vec<_> = order.split(' ').collect();
        let &[a, sign, b] = words.as_slice() else {
            panic!("`{order}` is not an order")
        };
        let (Some(left), Some(right)) = (self.times(a), self.times(b)) else {
            return json!("one has never run");
        };
        let holds = match sign {
            "<" => left.1 <= right.0,
            "|" => left.0 < right.1 && right.0 < left.1,
            _ => panic!("`{order}` is not an order"),
        };
        if holds {
            json!(order)
        } else {
            json!(format!(
                "not {order}: {a} from {} to {}, {b} from {} to {}",
                left.0, left.1, right.0, right.1
            ))
        }
    }

    /// Returns how many jobs ran at once at most.
    fn peak(&self) -> usize {
        let jobs = self
            .finished
            .as_ref()
            .and_then(|finished| finished.record["jobs"].as_object());
        let times: Vec<_> = jobs
            .into_iter()
            .flatten()
            .filter_map(|(name, _)| self.times(name))
            .collect();
        times
            .iter()
            .map(|(start, _)| {
                times
                    .iter()
                    .filter(|(begin, end)| begin <= start && start < end)
                    .count()
            })
            .max()
            .unwrap_or(0)
    }

    fn entries(&self) -> Vec<Value> {
        let Some(finished) = &self.finished else {
            return Vec::new();
        };
        let text = self
            .place
            .manager
            .journal(&[
                "--output=json".to_owned(),
                "--all".to_owned(),
                format!("NIXACTIONS_RUN={}", finished.id),
            ])
            .ok();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("journalctl prints JSON"))
            .collect()
    }

    fn journal(&self, fields: &std::collections::BTreeMap<String, String>) -> Value {
        let entries: Vec<Map<String, Value>> = self
            .entries()
            .iter()
            .map(|entry| {
                fields
                    .keys()
                    .filter_map(|key| Some((key.clone(), self.plain_value(entry.get(key)?))))
                    .collect()
            })
            .collect();
        let expected = json!(fields);
        if entries.iter().any(|entry| json!(entry) == expected) {
            expected
        } else {
            json!({ "none": expected, "of": entries })
        }
    }

    /// Looks for what must be nowhere.
    fn search(&self, secret: &str) -> Value {
        let mut places = Vec::new();
        let mut look = |place: String, text: &[u8]| {
            if text
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
            {
                places.push(place);
            }
        };
        look("stderr".to_owned(), self.stderr.as_bytes());
        for spoken in &self.spoken {
            look("a command's output".to_owned(), spoken.text.as_bytes());
        }
        if let Some(finished) = &self.finished {
            look(
                "stdout".to_owned(),
                json!(finished.events).to_string().as_bytes(),
            );
            look(
                "the journal".to_owned(),
                json!(self.entries()).to_string().as_bytes(),
            );
            let directory = self.place.manager.run_dir(&finished.id);
            for path in files(&directory) {
                look(
                    path.strip_prefix(&directory)
                        .unwrap_or(&path)
                        .display()
                        .to_string(),
                    &fs::read(&path).unwrap_or_default(),
                );
            }
        }
        if places.is_empty() {
            json!(secret)
        } else {
            json!(format!("`{secret}` is in {}", places.join(", ")))
        }
    }

    /// Keeps what was found; returns where.
    fn keep(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("conformance")
            .join(name.replace("::", "-"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the target directory is writable");
        let keep = |file: &str, text: String| {
            fs::write(folder.join(file), text).expect("the target directory is writable")
        };
        keep("plan.json", self.plan.to_owned());
        keep("stderr", self.stderr.clone());
        if let Some(finished) = &self.finished {
            keep("record.json", format!("{:#}\n", finished.record));
            keep(
                "events.jsonl",
                finished
                    .events
                    .iter()
                    .map(|event| format!("{event}\n"))
                    .collect(),
            );
        }
        folder
    }
}

/// Facts on both sides, in the order of the case.
#[derive(Default)]
struct Facts {
    expected: Map<String, Value>,
    found: Map<String, Value>,
}

impl Facts {
    fn add<T: serde::Serialize, F: serde::Serialize>(
        &mut self,
        name: &str,
        expected: impl IntoIterator<Item = T> + Clone,
        find: impl FnMut(T) -> F,
    ) {
        let sides: (Vec<Value>, Vec<Value>) = (
            expected.clone().into_iter().map(|it| json!(it)).collect(),
            expected.into_iter().map(find).map(|it| json!(it)).collect(),
        );
        if !sides.0.is_empty() {
            self.one(name, sides.0.into(), sides.1.into());
        }
    }

    fn one(&mut self, name: impl Into<String>, expected: Value, found: Value) {
        let name = format!("{:02} {}", self.expected.len(), name.into());
        self.expected.insert(name.clone(), expected);
        self.found.insert(name, found);
    }
}

/// Returns the part where the text has it, else the text.
fn found_in(part: &str, text: &str) -> String {
    if text.contains(part) {
        part.to_owned()
    } else {
        format!("it is not in: {text}")
    }
}

/// Returns those fields of a record that the case speaks of, and null for those that are absent. An
/// expected `?` is any text.
fn project(record: &Value, expected: &Map<String, Value>) -> Value {
    let field = |(key, expected): (&String, &Value)| {
        let found = record.get(key).cloned().unwrap_or(Value::Null);
        (
            key.clone(),
            if expected == "?" && found.is_string() {
                expected.clone()
            } else {
                found
            },
        )
    };
    expected.iter().map(field).collect()
}

/// Returns all plain files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
