//! Converts typed property values to D-Bus variants.

use serde::{Serialize, Serializer};
use zbus::{
    Variant,
    wire::{Signature, Type},
};

use crate::{
    plan::properties::PropertyValue,
    unit::{TransientUnit, Value},
};

/// `MS_REC`: a bound directory includes the mounts below it (mount(2)), as with `BindPaths=` by
/// default.
const RECURSIVE: u64 = 0x4000;

/// A file of `OpenFile=` is opened for reading, and the name of its descriptor
/// (sd_listen_fds_with_names(3)).
const OPEN_READ_ONLY: u64 = 1;
const OPEN_NAME: &str = "handed";

/// A unit's properties, as `StartTransientUnit` takes them.
pub(super) type Properties<'a> = Vec<(&'a str, Variant<'a>)>;

/// The units that `StartTransientUnit` takes beside the main one. Each is converted only when it is
/// written: the variants of a thousand units at once would need more memory than anything else in a
/// run.
#[derive(Debug)]
pub(super) struct Aux<'a>(pub &'a [TransientUnit]);

impl Type for Aux<'_> {
    const SIGNATURE: &'static Signature = <Vec<(&str, Properties<'_>)> as Type>::SIGNATURE;
}

impl Serialize for Aux<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|unit| (unit.name.as_str(), properties(unit))),
        )
    }
}

/// Returns a unit's properties in the form of `StartTransientUnit`.
pub(super) fn properties(unit: &TransientUnit) -> Properties<'_> {
    unit.properties
        .iter()
        .map(|(name, value)| (*name, variant(value)))
        .collect()
}

fn variant(value: &Value) -> Variant<'_> {
    match value {
        Value::Bool(value) => Variant::new(*value),
        Value::I32(value) => Variant::new(*value),
        Value::U32(value) => Variant::new(*value),
        Value::U64(value) => Variant::new(*value),
        Value::Str(value) => Variant::new(value.as_str()),
        Value::StrList(values) => {
            Variant::new(values.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Value::BytesList(values) => Variant::new(values.clone()),
        Value::Exec(argv) => {
            let words: Vec<&str> = argv.iter().map(String::as_str).collect();
            Variant::new(vec![(
                words.first().copied().unwrap_or_default(),
                words.clone(),
                false,
            )])
        }
        Value::ExecPrivileged(argv) => {
            let words: Vec<&str> = argv.iter().map(String::as_str).collect();
            Variant::new(vec![(
                words.first().copied().unwrap_or_default(),
                words.clone(),
                vec!["privileged"],
            )])
        }
        Value::OpenDirectory(path) => {
            Variant::new(vec![(path.as_str(), OPEN_NAME, OPEN_READ_ONLY)])
        }
        Value::Pairs(pairs) => Variant::new(
            pairs
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect::<Vec<_>>(),
        ),
        Value::Binds(binds) => Variant::new(
            binds
                .iter()
                .map(|bind| {
                    let (from, to) = (bind.source.as_str(), bind.target.as_str());
                    (from, to, bind.optional, RECURSIVE)
                })
                .collect::<Vec<_>>(),
        ),
        Value::Checked(value, _) => checked(value),
        Value::Filter(allow, names) => {
            Variant::new((*allow, names.iter().map(String::as_str).collect::<Vec<_>>()))
        }
    }
}

fn checked(value: &PropertyValue) -> Variant<'_> {
    match value {
        PropertyValue::Bool(value) => Variant::new(*value),
        PropertyValue::I32(value) => Variant::new(*value),
        PropertyValue::U32(value) => Variant::new(*value),
        PropertyValue::U64(value) => Variant::new(*value),
        PropertyValue::Str(value) => Variant::new(value.as_str()),
        PropertyValue::StrList(values) => {
            Variant::new(values.iter().map(String::as_str).collect::<Vec<_>>())
        }
        PropertyValue::Bytes(bytes) => Variant::new(bytes.clone()),
        PropertyValue::Filter(allow, names) => {
            Variant::new((*allow, names.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        PropertyValue::StrPairs(pairs) => Variant::new(
            pairs
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect::<Vec<_>>(),
        ),
        PropertyValue::StrU64Pairs(pairs) => Variant::new(
            pairs
                .iter()
                .map(|(a, b)| (a.as_str(), *b))
                .collect::<Vec<_>>(),
        ),
        PropertyValue::BindMounts(mounts) => {
            let mount = |mount: &crate::plan::properties::BindMount| {
                (
                    mount.source.clone(),
                    mount.destination.clone(),
                    mount.ignore_missing,
                    mount.flags(),
                )
            };
            Variant::new(mounts.iter().map(mount).collect::<Vec<_>>())
        }
        PropertyValue::IpPrefixes(prefixes) => Variant::new(
            prefixes
                .iter()
                .map(|prefix| (prefix.family, prefix.address.clone(), prefix.length))
                .collect::<Vec<_>>(),
        ),
    }
}
