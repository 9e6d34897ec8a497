//! Workflow commands in a step's output: `::error file=a.rs,line=1::text`, as documented by GitHub
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>).
//!
//! This module knows the meaning of a line and the bounds on annotations. It knows nothing of pipes
//! and the journal.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use memchr::memchr;

use super::{files, journal::Priority};
use crate::{
    bounds::{ANNOTATIONS_MAX, TEXT_MAX, cut_text},
    log::Mark,
    record::{Annotation, AnnotationLevel},
};

/// The most annotations of each level of a step and of a job: GitHub's bounds.
const OF_STEP: usize = 10;
const OF_JOB: usize = ANNOTATIONS_MAX;

/// The effect of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The line is not shown.
    Done,
    /// The line is not shown, and this value is hidden from now on.
    Hide(Vec<u8>),
    /// This text is shown in place of the line, with this level and mark.
    Say(String, Option<Priority>, Mark),
    /// The line is not shown, and this warning tells that the command is outdated.
    Warn(&'static str),
}

/// The token that ends a `::stop-commands::`, while commands are stopped. The two streams of an
/// attempt at a step share it, and no other stream does. So a process that an earlier step left
/// behind stops only its own commands.
pub type Stopped = Rc<RefCell<Option<Vec<u8>>>>;

/// The most bytes of outputs that a step may set by `::set-output`: as many as a file may have.
const SET_MAX: usize = files::FILE_MAX as usize;
const SET_OUTPUT: &str =
    "`::set-output` is outdated: write `NAME=VALUE` to the file $NIXACTIONS_OUTPUT";
const SAVE_STATE: &str =
    "`::save-state` is outdated and has no effect: no later step reads what it saves";

/// The commands of the running step, and the annotations of its job so far.
#[derive(Debug, Default)]
pub struct Commands {
    step: String,
    /// The number of the step's annotations, by level.
    of_step: [usize; 3],
    of_job: usize,
    annotations: Vec<Annotation>,
    /// The outputs that the step set by `::set-output`.
    outputs: Vec<(String, String)>,
    /// The outdated commands for which a warning was given.
    warned: BTreeSet<&'static str>,
    /// Whether the step asked for its job to be held.
    asks_to_hold: bool,
}

impl Commands {
    /// Begins an attempt at a step.
    pub fn begin(&mut self, step: &str, attempt: u32) {
        if attempt == 1 || step != self.step {
            self.of_step = [0; 3];
        }
        step.clone_into(&mut self.step);
        self.outputs.clear();
    }

    /// Takes the outputs that the step set by `::set-output`.
    pub fn outputs(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.outputs)
    }

    /// Takes whether the step asked for its job to be held for a shell.
    pub fn asks_to_hold(&mut self) -> bool {
        std::mem::take(&mut self.asks_to_hold)
    }

    /// Takes the annotations made since the last call.
    pub fn annotations(&mut self) -> Vec<Annotation> {
        std::mem::take(&mut self.annotations)
    }

    /// Handles a line of a stream. Returns `None` if the line is not a command, and is shown as it
    /// is. `::add-mask::` works even while commands are stopped: a lost line is better than a shown
    /// secret.
    pub fn hear(&mut self, line: &[u8], stopped: &Stopped) -> Option<Heard> {
        let line = line.trim_ascii_start();
        let rest = line.strip_prefix(b"::")?;
        let rest = rest.trim_ascii_end();
        let end = rest.windows(2).position(|pair| pair == b"::")?;
        let (head, data) = (&rest[..end], &rest[end + 2..]);
        let (name, properties) = head
            .iter()
            .position(|byte| *byte == b' ')
            .map_or((head, &[][..]), |at| (&head[..at], &head[at + 1..]));
        let mut stopped = stopped.borrow_mut();
        if let Some(token) = &*stopped {
            if name == token {
                *stopped = None;
                return Some(Heard::Done);
            }
            if !name.eq_ignore_ascii_case(b"add-mask") {
                return None;
            }
        }
        let text = |data: &[u8]| String::from_utf8_lossy(&unescape(data, false)).into_owned();
        // As on GitHub, the names of commands and properties ignore case.
        match name.to_ascii_lowercase().as_slice() {
            b"add-mask" => Some(Heard::Hide(unescape(data, false))),
            b"group" => Some(Heard::Say(text(data), None, Mark::Group)),
            b"endgroup" => Some(Heard::Say(String::new(), None, Mark::EndGroup)),
            b"debug" => Some(Heard::Say(
                format!("debug: {}", text(data)),
                Some(Priority::Debug),
                Mark::Debug,
            )),
            b"error" => Some(self.annotate(AnnotationLevel::Error, properties, &text(data))),
            b"warning" => Some(self.annotate(AnnotationLevel::Warning, properties, &text(data))),
            b"notice" => Some(self.annotate(AnnotationLevel::Notice, properties, &text(data))),
            b"hold" => {
                self.asks_to_hold = true;
                Some(Heard::Done)
            }
            b"set-output" => self.set_output(properties, text(data)),
            b"save-state" if property(properties, b"name").is_some() => {
                Some(self.outdated(SAVE_STATE))
            }
            // A token that is a command's name is refused: that command would consume it.
            b"stop-commands"
                if !data.is_empty()
                    && !NAMES.iter().any(|name| name.eq_ignore_ascii_case(data)) =>
            {
                *stopped = Some(data.to_owned());
                Some(Heard::Done)
            }
            _ => None,
        }
    }

    /// Stores an output as GitHub does, if the command names it.
    fn set_output(&mut self, properties: &[u8], value: String) -> Option<Heard> {
        let name = property(properties, b"name")?;
        if !files::is_name(&name) || value.contains('\0') {
            return None;
        }
        let size = |(name, value): &(String, String)| name.len() + value.len();
        let all: usize = self.outputs.iter().map(size).sum();
        if all + name.len() + value.len() <= SET_MAX {
            self.outputs.push((name, value));
        }
        Some(self.outdated(SET_OUTPUT))
    }

    fn outdated(&mut self, warning: &'static str) -> Heard {
        if self.warned.insert(warning) {
            Heard::Warn(warning)
        } else {
            Heard::Done
        }
    }

    fn annotate(&mut self, level: AnnotationLevel, properties: &[u8], message: &str) -> Heard {
        let mut annotation = Annotation {
            level,
            step: self.step.clone(),
            message: cut(message),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
        };
        for property in properties.split(|byte| *byte == b',') {
            let Some(equals) = property.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let value =
                String::from_utf8_lossy(&unescape(&property[equals + 1..], true)).into_owned();
            match property[..equals]
                .trim_ascii()
                .to_ascii_lowercase()
                .as_slice()
            {
                _ if value.is_empty() => {}
                b"title" => annotation.title = Some(cut(&value)),
                b"file" => annotation.file = Some(cut(&value)),
                b"line" => annotation.line = value.parse().ok(),
                b"endline" => annotation.end_line = value.parse().ok(),
                b"col" => annotation.column = value.parse().ok(),
                b"endcolumn" => annotation.end_column = value.parse().ok(),
                _ => {}
            }
        }
        let place = annotation
            .place()
            .map_or_else(String::new, |place| format!("{place}: "));
        let title = annotation
            .title
            .as_ref()
            .map_or_else(String::new, |title| format!("{title}: "));
        let said = format!("{}: {place}{title}{message}", level.as_str());
        let (priority, mark) = match level {
            AnnotationLevel::Error => (Priority::Error, Mark::Error),
            AnnotationLevel::Warning => (Priority::Warning, Mark::Warning),
            AnnotationLevel::Notice => (Priority::Notice, Mark::Notice),
        };
        let count = &mut self.of_step[level as usize];
        if *count < OF_STEP && self.of_job < OF_JOB {
            *count += 1;
            self.of_job += 1;
            self.annotations.push(annotation);
        }
        Heard::Say(said, Some(priority), mark)
    }
}

/// The names of all known commands.
const NAMES: [&[u8]; 11] = [
    b"add-mask",
    b"group",
    b"endgroup",
    b"debug",
    b"error",
    b"warning",
    b"notice",
    b"hold",
    b"stop-commands",
    b"set-output",
    b"save-state",
];

/// Returns the value of a command's property, if the command has it.
fn property(properties: &[u8], name: &[u8]) -> Option<String> {
    properties.split(|byte| *byte == b',').find_map(|property| {
        let equals = memchr(b'=', property)?;
        let is_it = property[..equals].trim_ascii().eq_ignore_ascii_case(name);
        let value = unescape(&property[equals + 1..], true);
        (is_it && !value.is_empty()).then(|| String::from_utf8_lossy(&value).into_owned())
    })
}

/// Decodes the escapes in a command's data or in one of its properties.
fn unescape(data: &[u8], property: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%')
            .then(|| after.first_chunk::<2>())
            .flatten()
            .and_then(|code| match &code.to_ascii_uppercase()[..] {
                b"0A" => Some(b'\n'),
                b"0D" => Some(b'\r'),
                b"25" => Some(b'%'),
                b"3A" if property => Some(b':'),
                b"2C" if property => Some(b','),
                _ => None,
            });
        out.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    out
}

/// Cuts text to the length that is kept.
fn cut(text: &str) -> String {
    let mut text = text.to_owned();
    cut_text(&mut text, TEXT_MAX);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(commands: &mut Commands, line: &[u8]) -> Option<Heard> {
        commands.hear(line, &Stopped::default())
    }

    fn say(text: &str, priority: Option<Priority>, mark: Mark) -> Option<Heard> {
        Some(Heard::Say(text.to_owned(), priority, mark))
    }

    #[test]
    fn annotations_carry_their_place_level_and_text() {
        let mut commands = Commands::default();
        commands.begin("lint", 1);
        let heard = hear(&mut commands, b"::error file=src/a%2Cb.rs,line=3,col=7,endLine=4,endColumn=9,title=Odd%3A x::one%0Atwo 100%25\r\n");
        assert_eq!(
            heard,
            say(
                "error: src/a,b.rs:3:7: Odd: x: one\ntwo 100%",
                Some(Priority::Error),
                Mark::Error
            )
        );
        assert_eq!(
            hear(&mut commands, b"  ::warning::odd"),
            say("warning: odd", Some(Priority::Warning), Mark::Warning)
        );
        let kept = commands.annotations();
        assert_eq!(
            (
                kept[0].step.as_str(),
                kept[0].title.as_deref(),
                kept[0].message.as_str()
            ),
            ("lint", Some("Odd: x"), "one\ntwo 100%")
        );
        assert_eq!(
            (
                kept[0].line,
                kept[0].column,
                kept[0].end_line,
                kept[0].end_column
            ),
            (Some(3), Some(7), Some(4), Some(9))
        );
        assert_eq!(
            (kept[1].level, kept[1].file.as_deref(), kept.len()),
            (AnnotationLevel::Warning, None, 2)
        );
    }

    #[test]
    fn lines_that_are_not_commands_are_shown_unchanged() {
        let mut commands = Commands::default();
        for line in [
            "plain",
            "a ::error::b",
            "::error",
            "::unknown::x",
            "::",
            "::::",
            "std::vec::Vec",
            "::std::vec::Vec",
            ":: error::x",
        ] {
            assert_eq!(hear(&mut commands, line.as_bytes()), None, "{line}");
        }
        assert_eq!(commands.annotations(), []);
    }

    #[test]
    fn groups_masks_and_debug_are_heard() {
        let mut commands = Commands::default();
        assert_eq!(
            hear(&mut commands, b"::group::Compile it"),
            say("Compile it", None, Mark::Group)
        );
        assert_eq!(
            hear(&mut commands, b"::endgroup::"),
            say("", None, Mark::EndGroup)
        );
        assert_eq!(
            hear(&mut commands, b"::debug::deep"),
            say("debug: deep", Some(Priority::Debug), Mark::Debug)
        );
        assert_eq!(
            hear(&mut commands, b"::add-mask::a::b%0Ac%3A"),
            Some(Heard::Hide(b"a::b\nc%3A".to_vec()))
        );
    }

    #[test]
    fn outdated_commands_work_with_one_warning_each() {
        let mut commands = Commands::default();
        commands.begin("a", 1);
        assert_eq!(
            hear(&mut commands, b"::set-output name=key::a%0Ab"),
            Some(Heard::Warn(SET_OUTPUT))
        );
        assert_eq!(
            hear(&mut commands, b"::SET-output name=other::::x"),
            Some(Heard::Done)
        );
        assert_eq!(
            hear(&mut commands, b"::save-state name=x::1"),
            Some(Heard::Warn(SAVE_STATE))
        );
        for line in [
            &b"::set-output::x"[..],
            b"::set-output name=::x",
            b"::set-output name=a b::x",
            b"::save-state::x",
        ] {
            assert_eq!(hear(&mut commands, line), None);
        }
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            commands.outputs(),
            [pair("key", "a\nb"), pair("other", "::x")]
        );
        hear(&mut commands, b"::set-output name=key::gone");
        commands.begin("b", 1);
        assert_eq!(commands.outputs(), []);
        let big = [b"::set-output name=big::".to_vec(), vec![b'x'; SET_MAX]].concat();
        assert_eq!(hear(&mut commands, &big), Some(Heard::Done));
        assert_eq!(commands.outputs(), [], "larger than a file may be");
    }

    #[test]
    fn stopped_commands_are_shown_until_the_token_comes_or_the_step_ends() {
        let mut commands = Commands::default();
        let stopped = Stopped::default();
        let mut hear = |line: &str, stopped: &Stopped| commands.hear(line.as_bytes(), stopped);
        assert_eq!(
            hear("::stop-commands::error", &stopped),
            None,
            "the token could never come"
        );
        assert_eq!(hear("::stop-commands::t-1", &stopped), Some(Heard::Done));
        for line in ["::error::x", "::t-2::", "::stop-commands::t-3"] {
            assert_eq!(hear(line, &stopped), None, "{line}");
        }
        assert_eq!(
            hear("::add-mask::x", &stopped),
            Some(Heard::Hide(b"x".to_vec())),
            "secrets are hidden even while commands are stopped"
        );
        let other = Stopped::default();
        assert!(
            hear("::error::x", &other).is_some(),
            "the commands of another step are not stopped"
        );
        assert_eq!(hear("::t-1::", &stopped), Some(Heard::Done));
        assert!(hear("::error::x", &stopped).is_some());
    }

    #[test]
    fn annotations_are_bounded_as_on_github() {
        let mut commands = Commands::default();
        for step in 0..4 {
            commands.begin(&step.to_string(), 1);
            for _ in 0..12 {
                for line in [&b"::error::x"[..], b"::warning::x"] {
                    assert!(hear(&mut commands, line).is_some());
                }
            }
        }
        let kept = commands.annotations();
        let of_step = |step: &str| kept.iter().filter(|one| one.step == step).count();
        assert_eq!(
            (
                kept.len(),
                of_step("0"),
                of_step("1"),
                of_step("2"),
                of_step("3")
            ),
            (50, 20, 20, 10, 0)
        );
    }
}
