//! The functions of expressions.

use std::{fmt, rc::Rc};

use crate::value::{Value, folded, write_json};

/// The most bytes of a text that a function, or a text with expressions, may make.
pub const TEXT_MAX: usize = 1 << 20;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A text would have more than [`TEXT_MAX`] bytes. The field tells the text's maker.
    TooLong(String),
    /// Another reason.
    Other(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(of) => write!(f, "{of}: the text has more than {TEXT_MAX} bytes"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// The names of the status functions.
pub const STATUS_FUNCTIONS: [&str; 4] = ["success", "failure", "always", "cancelled"];

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `contains(search, item)`
    Contains,
    /// `startsWith(text, beginning)`
    StartsWith,
    /// `endsWith(text, end)`
    EndsWith,
    /// `format(text, value, …)`
    Format,
    /// `join(list, separator)`
    Join,
    /// `toJSON(value)`
    ToJson,
    /// `fromJSON(text)`
    FromJson,
    /// `hashFiles(pattern, …)`
    HashFiles,
    /// `success()`
    Success,
    /// `failure()`
    Failure,
    /// `always()`
    Always,
    /// `cancelled()`
    Cancelled,
}

impl Function {
    /// All functions, as they are written.
    pub(crate) const NAMES: [(&str, Self); 12] = [
        ("contains", Self::Contains),
        ("startsWith", Self::StartsWith),
        ("endsWith", Self::EndsWith),
        ("format", Self::Format),
        ("join", Self::Join),
        ("toJSON", Self::ToJson),
        ("fromJSON", Self::FromJson),
        ("hashFiles", Self::HashFiles),
        ("success", Self::Success),
        ("failure", Self::Failure),
        ("always", Self::Always),
        ("cancelled", Self::Cancelled),
    ];

    /// Returns the function of a name, in any case.
    pub fn find(name: &str) -> Option<Self> {
        Self::NAMES
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, function)| function)
    }

    pub(crate) fn is_status(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failure | Self::Always | Self::Cancelled
        )
    }

    /// Returns how many arguments it takes, at least and at most.
    pub(crate) fn arity(self) -> (usize, usize) {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith => (2, 2),
            Self::Format | Self::HashFiles => (1, usize::MAX),
            Self::Join => (1, 2),
            Self::ToJson | Self::FromJson => (1, 1),
            Self::Success | Self::Failure | Self::Always | Self::Cancelled => (0, 0),
        }
    }
}

/// Returns whether a text has another in it, or a list an item. Lists and objects are in no text.
pub(crate) fn contains(search: &Value, item: &Value) -> bool {
    match search {
        Value::List(items) => items.iter().any(|other| other.equals(item)),
        Value::Object(_) => false,
        text => item.is_simple() && folded(&text.to_text()).contains(&folded(&item.to_text())),
    }
}

/// Returns whether a test of two texts holds, without regard to case.
pub(crate) fn texts(a: &Value, b: &Value, test: impl Fn(&str, &str) -> bool) -> bool {
    a.is_simple() && b.is_simple() && test(&folded(&a.to_text()), &folded(&b.to_text()))
}

/// Puts values into the places `{0}`, `{1}` … of a text; `{{` and `}}` are single braces.
pub(crate) fn format(text: &str, values: &[Value]) -> Result<String, Failure> {
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        made.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            made.push_str(brace);
            rest = after;
            continue;
        }
        let place = rest.split_once('}').filter(|_| brace == "{");
        let Some((digits, after)) = place else {
            return Err(format!("`format`: a single `{brace}`; write it twice").into());
        };
        let number = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse::<usize>().ok())
            .flatten()
            .ok_or_else(|| {
                Failure::Other("`format`: between braces stands the number of a value".to_owned())
            })?;
        let value = values
            .get(number)
            .ok_or_else(|| format!("`format`: there is no value for `{{{number}}}`"))?;
        made.push_str(&value.to_text());
        bounded("format", made.len())?;
        rest = after;
    }
    made.push_str(rest);
    bounded("format", made.len())?;
    Ok(made)
}

/// Joins the items of a list, by a comma where no separator is given.
pub(crate) fn join(items: &Value, separator: Option<&Value>) -> Result<Rc<str>, Failure> {
    let separator = separator
        .filter(|value| value.is_simple())
        .map_or(",".into(), Value::to_text);
    match items {
        Value::Object(_) => Ok("".into()),
        Value::List(items) => {
            let mut made = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    made.push_str(&separator);
                }
                made.push_str(&item.to_text());
                bounded("join", made.len())?;
            }
            Ok(made.into())
        }
        text => Ok(text.to_text()),
    }
}

/// Returns a value as JSON.
pub(crate) fn to_json(value: &Value) -> Result<String, Failure> {
    let mut made = String::new();
    write_json(value, 0, TEXT_MAX, &mut made);
    bounded("toJSON", made.len())?;
    Ok(made)
}

/// Returns the value of a JSON text. The error does not repeat the text, which may be secret.
pub(crate) fn from_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        if text.trim().is_empty() {
            "`fromJSON`: the text is empty".to_owned()
        } else {
            format!(
                "`fromJSON`: the text is not JSON (line {}, column {})",
                error.line(),
                error.column()
            )
        }
    })
}

/// Checks how long a text is that a function has made.
fn bounded(function: &str, bytes: usize) -> Result<(), Failure> {
    if bytes > TEXT_MAX {
        return Err(Failure::TooLong(format!("`{function}`")));
    }
    Ok(())
}
