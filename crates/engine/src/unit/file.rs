//! Renders a transient unit as the text of a unit file (systemd.unit(5), systemd.syntax(7)), for a
//! manager that boots with it.

use std::{ffi::OsStr, fmt::Write, os::unix::ffi::OsStrExt};

use super::{TransientUnit, Value};

/// The capabilities that the engine's units use, by their bits (capabilities(7)).
const CAPABILITIES: [(u32, &str); 4] = [
    (1, "CAP_DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (3, "CAP_FOWNER"),
    (21, "CAP_SYS_ADMIN"),
];

/// The settings of a service that belong in `[Unit]`.
const OF_UNIT: [&str; 5] = [
    "Description",
    "Documentation",
    "CollectMode",
    "After",
    "StartLimitIntervalSec",
];

/// Returns the lines of the sections `[Unit]` and `[Service]` of a service, without their headings.
pub fn sections(unit: &TransientUnit) -> (String, String) {
    let (mut head, mut service) = (String::new(), String::new());
    for (name, value) in &unit.properties {
        let (name, value) = setting(name, value);
        let section = if OF_UNIT.contains(&name.as_str()) {
            &mut head
        } else {
            &mut service
        };
        let _ = writeln!(section, "{name}={value}");
    }
    (head, service)
}

/// Returns a property in the form of a unit file. Microseconds and masks are numbers on the bus,
/// but have other names and values in a unit file.
fn setting(name: &str, value: &Value) -> (String, String) {
    match (name.strip_suffix("USec"), value) {
        (Some(name), Value::U64(u64::MAX)) => (format!("{name}Sec"), "infinity".to_owned()),
        (Some(name), Value::U64(micros)) => (format!("{name}Sec"), format!("{micros}us")),
        _ => (name.to_owned(), text(name, value)),
    }
}

fn text(name: &str, value: &Value) -> String {
    match (name, value) {
        (_, Value::Exec(words)) => command_line(words.iter().map(AsRef::as_ref)),
        ("RestrictNamespaces", Value::U64(0)) => "yes".to_owned(),
        ("CapabilityBoundingSet", Value::U64(mask)) => CAPABILITIES
            .iter()
            .filter(|(bit, _)| mask & 1 << bit != 0)
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
            .join(" "),
        (_, value) => value.to_string().replace('%', "%%"),
    }
}

/// Returns a value for `ExecStart=` that executes exactly these words: systemd expands no variable,
/// specifier or `;`.
pub fn command_line<'a>(mut words: impl Iterator<Item = &'a OsStr>) -> String {
    let mut line = String::from(":");
    if let Some(program) = words.next() {
        line.push_str(&quoted(program));
    }
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    line
}

/// Quotes a word according to systemd.syntax(7). Doubles percent signs, so that they are not
/// specifiers.
fn quoted(word: &OsStr) -> String {
    let mut text = String::from("\"");
    for byte in word.as_bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b'%' => text.push_str("%%"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn quoted_words_are_not_expanded() {
        let words: Vec<OsString> = ["/bin/echo", "a b", "50%", "$HOME", ";", "q\"\\", "\u{e9}\n"]
            .map(Into::into)
            .to_vec();
        assert_eq!(
            command_line(words.iter().map(AsRef::as_ref)),
            r#":"/bin/echo" "a b" "50%%" "$HOME" ";" "q\"\\" "\xc3\xa9\x0a""#
        );
    }

    #[test]
    fn settings_are_written_as_in_a_unit_file() {
        let unit = TransientUnit {
            name: crate::unit::UnitName::supervisor(&"ci-1".parse().unwrap()),
            properties: vec![
                ("After", Value::StrList(vec!["a.service".into()])),
                ("WatchdogUSec", Value::U64(120_000_000)),
                ("TimeoutStopUSec", Value::U64(u64::MAX)),
                ("StartLimitIntervalUSec", Value::U64(0)),
                ("RestrictNamespaces", Value::U64(0)),
                ("CapabilityBoundingSet", Value::U64(1 << 3 | 1 << 21)),
                ("NoNewPrivileges", Value::Bool(true)),
            ],
        };
        let (head, service) = sections(&unit);
        assert_eq!(head, "After=a.service\nStartLimitIntervalSec=0us\n");
        assert_eq!(
            service,
            "WatchdogSec=120000000us\nTimeoutStopSec=infinity\nRestrictNamespaces=yes\n\
             CapabilityBoundingSet=CAP_FOWNER CAP_SYS_ADMIN\nNoNewPrivileges=true\n"
        );
    }
}
