//! Expressions: their form, and the names, functions and types in them that cannot be right.

use std::collections::BTreeMap;

use nixactions_core::conditions::Condition;
use nixactions_expression::{
    Fault, Function, Kind, STATUS_FUNCTIONS, Shape, check, parse,
    template::{self, Segment},
};

use super::names::Names;
use crate::{
    fault::{At, Refusal, Sink, suggest},
    ids::StepId,
    model::{Env, Job, Plan},
};

const EXPECTED: &str = "an expression of GitHub's language";

/// The names that the expressions of a job may use.
pub(super) struct Scope {
    contexts: BTreeMap<String, Shape>,
    /// The contexts that only steps have.
    of_steps: BTreeMap<String, Shape>,
    /// The kind of place that its texts are.
    texts: Place,
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    JobCondition,
    StepCondition,
    Text,
    /// The outputs of a job whose steps a hook runs.
    OutputOfHooks,
}

impl Place {
    fn has(self, function: Function) -> bool {
        match function {
            Function::HashFiles => self != Self::JobCondition,
            Function::Success | Function::Failure | Function::Always | Function::Cancelled => {
                matches!(self, Self::JobCondition | Self::StepCondition)
            }
            _ => true,
        }
    }
}

fn simple(names: impl IntoIterator<Item = String>) -> Shape {
    Shape::names(names.into_iter().map(|name| (name, Shape::Simple)))
}

fn texts() -> Shape {
    Shape::Each(Box::new(Shape::Simple))
}

fn unless_broken(at: &At<'_>, shape: Shape, sink: &Sink) -> Shape {
    if sink.is_broken(at) {
        Shape::Any
    } else {
        shape
    }
}

/// Returns the contexts that are the same for all jobs of a run.
fn of_run(plan: &Plan, sink: &Sink) -> BTreeMap<String, Shape> {
    let inputs = simple(plan.inputs.keys().cloned());
    let nixactions = [
        "run",
        "workflow",
        "job",
        "attempt",
        "event",
        "ref",
        "sha",
        "repository",
        "actor",
        "workspace",
    ];
    [
        ("env", texts()),
        (
            "inputs",
            unless_broken(&At::ROOT.key("inputs"), inputs, sink),
        ),
        ("nixactions", simple(nixactions.map(str::to_owned))),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .into()
}

impl Scope {
    /// Returns the names that a job's expressions may use. A part with a fault allows any name.
    pub(super) fn new(plan: &Plan, job: &Job, names: &Names<'_>, at: &At<'_>, sink: &Sink) -> Self {
        let matrix = names.matrix_keys(job).map(str::to_owned);
        let need = || Shape::names([("result", Shape::Simple), ("outputs", texts())]);
        let needs = Shape::names(job.needs.iter().map(|name| (name.to_string(), need())));
        let mut contexts = of_run(plan, sink);
        contexts.extend([
            (
                "needs".to_owned(),
                unless_broken(&at.key("needs"), needs, sink),
            ),
            (
                "matrix".to_owned(),
                unless_broken(&at.key("matrix"), simple(matrix), sink),
            ),
        ]);
        let mut of_steps = contexts.clone();
        of_steps.insert("job".to_owned(), simple(["status".to_owned()]));
        of_steps.insert("steps".to_owned(), Shape::names::<String>([]));
        Self {
            contexts,
            of_steps,
            texts: Place::Text,
        }
    }

    /// Takes away the steps: a hook runs them, and tells no results of single ones.
    pub(super) fn forget_steps(&mut self) {
        self.of_steps.remove("steps");
        self.texts = Place::OutputOfHooks;
    }

    /// Returns the names that expressions in a workflow's own fields may use.
    pub(super) fn of_workflow(plan: &Plan, sink: &Sink) -> Self {
        let contexts = of_run(plan, sink);
        Self {
            of_steps: contexts.clone(),
            contexts,
            texts: Place::Text,
        }
    }

    /// Takes in a step whose id the expressions after it may name; `None` is a broken one.
    pub(super) fn add_step(&mut self, id: Option<&StepId>) {
        let Some(Shape::Names(steps)) = self.of_steps.get_mut("steps") else {
            return;
        };
        match id {
            Some(id) => {
                let step = Shape::names([
                    ("outputs", Shape::Each(Box::new(Shape::Simple))),
                    ("outcome", Shape::Simple),
                    ("conclusion", Shape::Simple),
                ]);
                steps.insert(id.to_string(), step);
            }
            None => drop(self.of_steps.insert("steps".to_owned(), Shape::Any)),
        }
    }

    /// Checks the condition of the job itself, where it is an expression.
    pub(super) fn check_job_condition(&self, text: &str, at: &At<'_>, sink: &mut Sink) {
        self.condition(text, Place::JobCondition, at, sink);
    }

    /// Checks the condition of a step, where it is an expression.
    pub(super) fn check_step_condition(&self, text: &str, at: &At<'_>, sink: &mut Sink) {
        self.condition(text, Place::StepCondition, at, sink);
    }

    fn condition(&self, text: &str, place: Place, at: &At<'_>, sink: &mut Sink) {
        if let Condition::Expression(expression) = Condition::parse(Some(text)) {
            self.expression(text, expression.at, &expression.text, place, at, sink);
        }
    }

    /// Checks the texts with expressions of a step's variables or a job's outputs.
    pub(super) fn check_texts(&self, texts: &Env, at: &At<'_>, sink: &mut Sink) {
        for (name, text) in texts {
            self.check_text(text, &at.key(name), sink);
        }
    }

    /// Checks a text with expressions.
    pub(super) fn check_text(&self, text: &str, at: &At<'_>, sink: &mut Sink) {
        match template::segments(text) {
            Ok(segments) => {
                for segment in segments {
                    if let Segment::Expression(inner, begin) = segment {
                        self.expression(text, begin, inner, self.texts, at, sink);
                    }
                }
            }
            Err(error) => sink.add(at, || {
                Refusal::new(
                    format!("{} (character {})", error.found, position(text, error.at)),
                    "a text whose expressions end",
                )
            }),
        }
    }

    /// Checks an expression that begins at this byte of a text.
    fn expression(
        &self,
        text: &str,
        begin: usize,
        inner: &str,
        place: Place,
        at: &At<'_>,
        sink: &mut Sink,
    ) {
        let place_of = |at: usize| format!("(character {})", position(text, begin + at));
        let expression = match parse(inner) {
            Ok(expression) => expression,
            Err(error) => {
                return sink.add(at, || {
                    Refusal::new(format!("{} {}", error.found, place_of(error.at)), EXPECTED)
                        .maybe_hint(whole_hint(text, begin))
                });
            }
        };
        let contexts = if place == Place::JobCondition {
            &self.contexts
        } else {
            &self.of_steps
        };
        for fault in check(&expression, contexts, |function| place.has(function)) {
            sink.add(at, || refusal(&fault, place, &place_of(fault.at)));
        }
    }
}

/// Returns a hint for a condition that only a call of a status function makes an expression; such
/// a one begins with the text.
fn whole_hint(text: &str, begin: usize) -> Option<String> {
    if begin > 0 {
        None
    } else if text.contains("${{") {
        Some("wrap the whole condition in one `${{ }}`".to_owned())
    } else {
        let hint = "a status function makes the whole text an expression: bash stands alone, and \
                    is asked after an implicit `success()`; a step asks for a file by \
                    `hashFiles('x') != ''`";
        Some(hint.to_owned())
    }
}

/// Returns the number of the character at a byte of a text, from 1.
fn position(text: &str, at: usize) -> usize {
    text.char_indices()
        .take_while(|(index, _)| *index < at)
        .count()
        + 1
}

fn refusal(fault: &Fault, place: Place, position: &str) -> Refusal {
    let suggest = |name: &str, known: &[String]| {
        if known.is_empty() {
            Some("there are none".to_owned())
        } else {
            suggest(name, known.iter().map(String::as_str))
        }
    };
    match &fault.kind {
        Kind::Function { name, known } => Refusal::new(
            format!("the function `{name}` {position}, which is not there"),
            "a function of expressions",
        )
        .maybe_hint(suggest(name, known)),
        Kind::NotHere { function } => {
            let (expected, hint) = if STATUS_FUNCTIONS.contains(function) {
                (
                    "an expression without status functions",
                    "status functions are for conditions; `job.status` tells the same",
                )
            } else {
                (
                    "a condition that needs no files",
                    "as on GitHub, a job's condition is asked before its workspace is there: ask on a step",
                )
            };
            Refusal::new(format!("`{function}` {position}"), expected).hint(hint)
        }
        Kind::Arguments { function, takes } => Refusal::new(
            format!("`{function}` with other arguments {position}"),
            format!("{takes} of `{function}`"),
        ),
        Kind::Context { name, known } => Refusal::new(
            format!("`{name}` {position}, which is not a context"),
            "a context of this place",
        )
        .maybe_hint(elsewhere(name, place).or_else(|| suggest(name, known))),
        Kind::Name { of, name, known } => Refusal::new(
            format!("`{of}.{name}` {position}, which is not there"),
            format!("a name that `{of}` has"),
        )
        .maybe_hint(suggest(name, known).or_else(|| {
            (of == "steps").then(|| "a step sees those before it that have an `id`".to_owned())
        })),
        Kind::InText { of } => Refusal::new(
            format!("something in `{of}` {position}"),
            "no more than the text that it is",
        ),
        Kind::NotText { place } => Refusal::new(
            format!("an object {position}"),
            format!("a text, number or boolean for `{place}`"),
        )
        .hint("compare one of its values, or `toJSON` of it"),
    }
}

/// Returns the counterpart here of one of GitHub's contexts.
fn elsewhere(name: &str, place: Place) -> Option<String> {
    let hint = match name.to_ascii_lowercase().as_str() {
        "github" => {
            "`nixactions` has `run`, `workflow`, `job`, `attempt`, `event`, `ref`, `sha`, \
             `repository`, `actor` and `workspace`"
        }
        "runner" => "jobs run on this machine: ask for its properties in a script",
        "secrets" | "vars" => "variables, also secret ones, are in `env`",
        "strategy" => "the values of the matrix are in `matrix`",
        "steps" | "job" if place == Place::JobCondition => {
            "a job's condition is asked before its steps: it sees `needs`"
        }
        "steps" if place == Place::OutputOfHooks => {
            "`executeJob` runs the steps: what it writes to `$NIXACTIONS_OUTPUT` are the outputs"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
