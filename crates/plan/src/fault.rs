//! Faults: the place of a problem in a plan, the text found there, and the text expected there.
//!
//! Knows nothing of plans. A place is a path in any JSON.

use std::{fmt, io, path::PathBuf};

use serde_json::Value;

use crate::error::escaped;

/// The number of faults that are kept and shown. Further faults are only counted.
pub const FAULTS_SHOWN: usize = 100;

/// The longest part of a foreign text that a fault repeats, in characters.
const FOUND_MAX: usize = 60;

/// A fault of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The place, as a JSON path such as `$.jobs.build.steps[0].run`.
    pub path: String,
    /// The content of the place.
    pub found: String,
    /// The content that the place may have.
    pub expected: String,
    /// Advice that probably helps.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: found {}, expected {}",
            self.path, self.found, self.expected
        )?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All faults of a plan, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    shown: Vec<Fault>,
    total: usize,
}

impl Faults {
    /// Returns the faults in the order of their places, at most [`FAULTS_SHOWN`].
    pub fn shown(&self) -> &[Fault] {
        &self.shown
    }

    /// Returns the number of all faults, shown or not.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self {
            shown: vec![fault],
            total: 1,
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.shown.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        match self.total - self.shown.len() {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Faults {}

/// The error of a plan that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The system could not read the file.
    #[error("failed to read the plan `{}`", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The plan has faults.
    #[error("the plan `{}` has {}:\n{faults}", escaped(&path.display().to_string()), count(faults.total()))]
    Faulty {
        /// The path of the file.
        path: PathBuf,
        /// The faults.
        faults: Faults,
    },
}

fn count(faults: usize) -> String {
    if faults == 1 {
        "a fault".to_owned()
    } else {
        format!("{faults} faults")
    }
}

/// A place in JSON, as a chain of borrowed segments on the stack. Making it is free. Only a fault
/// writes it as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    segment: Segment<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A segment of a stored place. Its order is the order in which faults are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl At<'static> {
    pub(super) const ROOT: At<'static> = At {
        parent: None,
        segment: Segment::Root,
    };
}

impl<'a> At<'a> {
    pub(super) fn key<'b>(&'b self, key: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At {
            parent: Some(self),
            segment: Segment::Key(key),
        }
    }

    pub(super) fn index<'b>(&'b self, index: usize) -> At<'b>
    where
        'a: 'b,
    {
        At {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = self.parent.map(At::steps).unwrap_or_default();
        match self.segment {
            Segment::Root => {}
            Segment::Key(key) => steps.push(Step::Key(key.to_owned())),
            Segment::Index(index) => steps.push(Step::Index(index)),
        }
        steps
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Root => f.write_str("$"),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => {
                let plain = key
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
                if plain && (1..=200).contains(&key.len()) {
                    write!(f, ".{key}")
                } else {
                    write!(f, "[{}]", quoted(key))
                }
            }
        }
    }
}

/// A failed check of a value, not yet bound to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub found: String,
    pub expected: String,
    pub hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            expected: expected.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Returns the fault at a place.
    pub(super) fn at(self, at: &At<'_>) -> Fault {
        // All three may repeat text of the plan.
        let [path, found, expected] =
            [at.to_string(), self.found, self.expected].map(|text| escaped(&text).into_owned());
        Fault {
            path,
            found,
            expected,
            hint: self.hint.map(|hint| escaped(&hint).into_owned()),
        }
    }

    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// Collects faults. Drops a fault that only follows from a structural fault.
#[derive(Debug, Default)]
pub(super) struct Sink {
    kept: Vec<(Vec<Step>, Fault)>,
    total: usize,
    /// The places of placeholders and of fields that were left out.
    broken: Vec<Vec<Step>>,
}

impl Sink {
    /// Adds a fault. Calls `refusal` only if the fault is to be shown.
    pub(super) fn add(&mut self, at: &At<'_>, refusal: impl FnOnce() -> Refusal) {
        if self.is_full() {
            // Count the fault without comparing places: there may be millions of faults.
            self.total += 1;
            return;
        }
        let place = at.steps();
        // A fault at or below a broken place concerns the placeholder there. A fault above it may
        // come from the missing parts.
        if !self
            .broken
            .iter()
            .any(|broken| place.starts_with(broken) || broken.starts_with(&place))
        {
            self.push(at, place, refusal);
        }
    }

    /// Adds a structural fault. Later faults at, below or right above `broken` count as its
    /// consequences.
    pub(super) fn add_structural(
        &mut self,
        at: &At<'_>,
        broken: &At<'_>,
        refusal: impl FnOnce() -> Refusal,
    ) {
        if self.is_full() {
            self.total += 1;
            return;
        }
        self.broken.push(broken.steps());
        self.push(at, at.steps(), refusal);
    }

    fn push(&mut self, at: &At<'_>, place: Vec<Step>, refusal: impl FnOnce() -> Refusal) {
        self.total += 1;
        self.kept.push((place, refusal().at(at)));
    }

    /// Returns whether no further fault would be shown.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= FAULTS_SHOWN
    }

    /// Adds the fault of a failed check.
    pub(super) fn check(&mut self, at: &At<'_>, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.add(at, || refusal);
        }
    }

    /// Returns whether a structural fault was found at or below a place.
    pub(super) fn is_broken(&self, at: &At<'_>) -> bool {
        !self.broken.is_empty() && self.any_broken(|broken| broken.starts_with(&at.steps()))
    }

    /// Returns whether `test` holds for the place of some structural fault.
    pub(super) fn any_broken(&self, mut test: impl FnMut(&[Step]) -> bool) -> bool {
        self.broken.iter().any(|broken| test(broken))
    }

    /// Returns `value`, or all faults.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, Faults> {
        if self.total == 0 {
            return Ok(value);
        }
        self.kept.sort_by(|(a, _), (b, _)| a.cmp(b));
        Err(Faults {
            shown: self.kept.into_iter().map(|(_, fault)| fault).collect(),
            total: self.total,
        })
    }
}

/// Returns a text in quotes. Escapes control characters and cuts a long text.
pub(super) fn quoted(text: &str) -> String {
    let end = text
        .char_indices()
        .nth(FOUND_MAX)
        .map_or(text.len(), |(end, _)| end);
    let quoted = Value::from(&text[..end]).to_string();
    if end == text.len() {
        quoted
    } else {
        format!(
            "{}…\" ({} bytes)",
            quoted.strip_suffix('"').unwrap_or(&quoted),
            text.len()
        )
    }
}

/// Returns a short description of a value.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Array(_) | Value::Object(_) => {
            let kind = if value.is_array() {
                "a list"
            } else {
                "an object"
            };
            // Do not write out a large value.
            let small = match value {
                Value::Array(items) => {
                    items.len() <= 8
                        && items
                            .iter()
                            .all(|item| !item.is_array() && !item.is_object())
                }
                _ => false,
            };
            match value.to_string() {
                text if small && text.len() <= FOUND_MAX => format!("the list {text}"),
                _ => kind.to_owned(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Returns the candidate closest to `name`, if it is close enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    fn fold(name: &str) -> String {
        name.chars()
            .filter(|c| !matches!(c, '-' | '_' | ' '))
            .flat_map(char::to_lowercase)
            .collect()
    }
    if name.len() > 200 {
        return None;
    }
    let folded = fold(name);
    let allowed = (folded.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| {
            *candidate != name && candidate.len().abs_diff(name.len()) <= allowed + 4
        })
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&folded, &fold(candidate)),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns a hint with the nearest candidate, or with all candidates if they are few.
pub(super) fn suggest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(name, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let known: Vec<_> = candidates
        .into_iter()
        .take(13)
        .map(|known| format!("`{known}`"))
        .collect();
    (!known.is_empty() && known.len() < 13).then(|| format!("known: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_quotes_unusual_keys() {
        let jobs = At::ROOT.key("jobs");
        let job = jobs.key("test-linux");
        assert_eq!(
            job.key("steps").index(3).to_string(),
            "$.jobs.test-linux.steps[3]"
        );
        assert_eq!(
            job.key("env").key("a b\"").to_string(),
            r#"$.jobs.test-linux.env["a b\""]"#
        );
        assert_eq!(job.key("").to_string(), r#"$.jobs.test-linux[""]"#);
    }

    #[test]
    fn nearest_returns_only_close_names() {
        assert_eq!(nearest("biuld", ["build", "bill", "test"]), Some("build"));
        assert_eq!(
            nearest("continue-on-error", ["condition", "continueOnError"]),
            Some("continueOnError")
        );
        assert_eq!(nearest("Build", ["build"]), Some("build"));
        assert_eq!(nearest("deploy", ["build", "test"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn long_and_odd_texts_are_cut_and_escaped() {
        assert_eq!(quoted("a\u{0}b"), "\"a\\u0000b\"");
        assert_eq!(
            quoted(&"é".repeat(100)),
            format!("\"{}…\" (200 bytes)", "é".repeat(60))
        );
        assert_eq!(shown(&serde_json::json!(["a", 1])), "the list [\"a\",1]");
        assert_eq!(shown(&serde_json::json!([[]])), "a list");
    }

    #[test]
    fn faults_beyond_the_limit_are_counted() {
        let mut sink = Sink::default();
        for i in 0..250 {
            sink.add(&At::ROOT.index(i), || Refusal::new("x", "y"));
        }
        let faults = sink.finish(()).unwrap_err();
        assert_eq!((faults.shown().len(), faults.total()), (100, 250));
        assert!(
            faults
                .to_string()
                .ends_with("$[99]: found x, expected y\nand 150 more")
        );
    }
}
