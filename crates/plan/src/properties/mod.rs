//! The unit properties that a plan may set, and their values for StartTransientUnit.
//!
//! Names and texts are those of unit files and of `systemd-run --property=` (systemd.exec(5),
//! systemd.resource-control(5)), but an empty text is invalid here. A plan may set the properties
//! that limit and isolate a job. It may not set the properties that the engine decides on: the
//! command, its start, its time limit, the destination of its output. Knows nothing of D-Bus beyond
//! the types.

mod known;
mod table;
mod values;

use super::fault::{Refusal, nearest, quoted};
pub use known::KNOWN;
pub use table::Property;

/// A value with the D-Bus type that systemd requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyValue {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `s`
    Str(String),
    /// `as`
    StrList(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `(bas)`: whether the list allows or denies, and the list.
    Filter(bool, Vec<String>),
    /// `a(ss)`
    StrPairs(Vec<(String, String)>),
    /// `a(st)`
    StrU64Pairs(Vec<(String, u64)>),
    /// `a(ssbt)`
    BindMounts(Vec<BindMount>),
    /// `a(iayu)`
    IpPrefixes(Vec<IpPrefix>),
}

/// A bind mount, `(ssbt)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// The path that is mounted.
    pub source: String,
    /// The path of the mount point.
    pub destination: String,
    /// Whether systemd ignores a missing source.
    pub ignore_missing: bool,
    /// Whether the mounts below the source are mounted, too (MS_REC).
    pub recursive: bool,
}

impl BindMount {
    /// Returns the mount flags: MS_REC (mount(2)) or none.
    pub fn flags(&self) -> u64 {
        if self.recursive { 0x4000 } else { 0 }
    }
}

/// Some IP addresses, `(iayu)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpPrefix {
    /// AF_INET or AF_INET6.
    pub family: i32,
    /// 4 or 16 bytes.
    pub address: Vec<u8>,
    /// The length of the prefix, in bits.
    pub length: u32,
}

/// A property as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitProperty {
    /// The property as the plan names it.
    pub source: &'static str,
    /// The property's name on D-Bus. It may differ: `CPUQuota` is `CPUQuotaPerSecUSec`.
    pub name: &'static str,
    /// The property's value.
    pub value: PropertyValue,
    /// The first version of systemd that accepts the property. An older one refuses the whole unit.
    pub since: u32,
}

/// The reason for refusing a property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The checked set does not have the property.
    #[error("unknown property")]
    Unknown {
        /// The nearest property of the set.
        near: Option<&'static str>,
    },
    /// systemd has the property, but a plan may not set it.
    #[error("property that a plan may not set")]
    Forbidden {
        /// Advice on a replacement.
        hint: &'static str,
    },
    /// The value does not fit the property.
    #[error("expected {expected}")]
    Value {
        /// The values that fit.
        expected: String,
    },
}

impl PropertyError {
    /// Returns the error as a refusal for a fault.
    pub(super) fn refusal(self, name: &str, value: &str) -> Refusal {
        const A_KNOWN_ONE: &str = "a unit property that limits or isolates a job";
        match self {
            Self::Unknown { near } => Refusal::new(
                format!("the unknown property {}", quoted(name)),
                A_KNOWN_ONE,
            )
            .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))),
            Self::Forbidden { hint } => {
                Refusal::new(format!("the property `{name}`"), A_KNOWN_ONE).hint(hint)
            }
            Self::Value { expected } => Refusal::new(quoted(value), expected),
        }
    }
}

/// Returns the D-Bus properties for a property. Most have one, and `Limit*=` have two.
///
/// # Errors
/// The property is not in the checked set, or the value does not fit it.
pub fn parse(name: &str, value: &str) -> Result<Vec<UnitProperty>, PropertyError> {
    let Some(property) = KNOWN.iter().find(|known| known.name == name) else {
        return Err(match table::forbidden(name) {
            Some(hint) => PropertyError::Forbidden { hint },
            None => PropertyError::Unknown {
                near: nearest(name, KNOWN.iter().map(|known| known.name)),
            },
        });
    };
    let sent = if value.contains('\0') {
        None
    } else {
        property.kind.sent(property.name, value)
    };
    let sent = sent.ok_or_else(|| PropertyError::Value {
        expected: property.kind.describe(),
    })?;
    Ok(sent
        .into_iter()
        .map(|table::Sent { name, value, since }| UnitProperty {
            source: property.name,
            name,
            value,
            since: since.max(property.since),
        })
        .collect())
}

/// Returns whether a property of a unit also holds in a container of systemd-nspawn(1) that is the
/// unit: its control group or the kernel applies it to all processes, or the engine passes it on.
/// systemd itself applies the others to the processes that it starts.
pub fn reaches_containers(name: &str) -> bool {
    const PREFIXES: [&str; 14] = [
        "Allowed",
        "CPU",
        "Device",
        "IO",
        "IPA",
        "Limit",
        "Memory",
        "NUMA",
        "Nice",
        "OOM",
        "RestrictNetworkInterfaces",
        "StartupCPU",
        "Tasks",
        "TimerSlack",
    ];
    name != "MemoryDenyWriteExecute" && PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the number of bytes in a text such as `512M` or `10G` (powers of 1024,
/// systemd.syntax(7)).
pub fn size(text: &str) -> Option<u64> {
    values::size(text, 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> (&'static str, PropertyValue) {
        let mut all = parse(name, value).unwrap();
        assert_eq!(all.len(), 1);
        let property = all.swap_remove(0);
        (property.name, property.value)
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KNOWN.len());
    }

    #[test]
    fn examples_are_accepted_and_nonsense_is_refused() {
        for known in KNOWN {
            for example in known.examples {
                parse(known.name, example)
                    .unwrap_or_else(|error| panic!("{}={example}: {error}", known.name));
            }
            for bad in ["", "\0", "\u{1}(nonsense"] {
                // A set of capabilities or namespaces may be empty.
                let empty_is_good = bad.is_empty()
                    && (known.name.contains("Capabilit") || known.name == "RestrictNamespaces");
                assert_eq!(
                    parse(known.name, bad).is_ok(),
                    empty_is_good,
                    "{}={bad:?}",
                    known.name
                );
            }
        }
    }

    #[test]
    fn limits_are_converted_to_the_units_of_systemd() {
        assert_eq!(
            one("MemoryMax", "4G"),
            ("MemoryMax", PropertyValue::U64(4 << 30))
        );
        assert_eq!(
            one("MemoryMax", "infinity"),
            ("MemoryMax", PropertyValue::U64(u64::MAX))
        );
        assert_eq!(
            one("MemoryMax", "50%"),
            ("MemoryMaxScale", PropertyValue::U32(0x8000_0000))
        );
        assert_eq!(
            one("CPUQuota", "200%"),
            ("CPUQuotaPerSecUSec", PropertyValue::U64(2_000_000))
        );
        assert_eq!(
            one("TasksMax", "10%"),
            ("TasksMaxScale", PropertyValue::U32(429_496_730))
        );
        assert_eq!(
            one("CPUWeight", "idle"),
            ("CPUWeight", PropertyValue::U64(0))
        );
        let both = parse("LimitNOFILE", "1024:4096").unwrap();
        assert_eq!(
            (both[0].name, &both[0].value),
            ("LimitNOFILE", &PropertyValue::U64(4096))
        );
        assert_eq!(
            (both[1].name, &both[1].value),
            ("LimitNOFILESoft", &PropertyValue::U64(1024))
        );
    }

    #[test]
    fn unknown_and_forbidden_properties_come_with_advice() {
        assert_eq!(
            parse("MemroyMax", "1"),
            Err(PropertyError::Unknown {
                near: Some("MemoryMax")
            })
        );
        assert!(matches!(
            parse("ExecStart", "/bin/true"),
            Err(PropertyError::Forbidden { .. })
        ));
        assert!(matches!(
            parse("Environment", "A=b"),
            Err(PropertyError::Forbidden { .. })
        ));
        assert_eq!(
            parse("CPUQuota", "200"),
            Err(PropertyError::Value {
                expected: "a percentage such as `200%`, of one CPU".into()
            })
        );
    }

    #[test]
    fn newer_forms_state_their_first_version() {
        assert_eq!(parse("PrivateTmp", "yes").unwrap()[0].since, 252);
        let disconnected = &parse("PrivateTmp", "disconnected").unwrap()[0];
        assert_eq!(
            (disconnected.name, disconnected.since),
            ("PrivateTmpEx", 257)
        );
    }
}
