//! A transient unit as the text of a unit file (systemd.unit(5), systemd.syntax(7)), for a manager
//! that is booted with it.

use std::{ffi::OsStr, fmt::Write, os::unix::ffi::OsStrExt};

use super::{TransientUnit, Value};

/// The capabilities that are given out, by their bits (capabilities(7)).
const CAPABILITIES: [(u32, &str); 4] = [
    (1, "CAP_DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (3, "CAP_FOWNER"),
    (21, "CAP_SYS_ADMIN"),
];

/// The settings of a service that stand in `[Unit]`.
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

/// Returns a property as a unit file has it: what is a number of microseconds or a mask on the bus
/// has other words there.
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

/// Returns a value for `ExecStart=` that executes just these words: no variable, specifier or `;`
/// is expanded.
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

/// Quotes a word by systemd.syntax(7); a percent sign is doubled against specifiers.
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
    fn words_are_quoted_against_every_expansion() {
        let words: Vec<OsString> = ["/bin/echo", "a b", "50%", "$HOME", ";", "q\"\\", "\u{e9}\n"]
            .map(Into::into)
            .to_vec();
        assert_eq!(
            command_line(words.iter().map(AsRef::as_ref)),
            r#":"/bin/echo" "a b" "50%%" "$HOME" ";" "q\"\\" "\xc3\xa9\x0a""#
        );
    }

    #[test]
    fn settings_have_the_words_of_a_unit_file() {
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
