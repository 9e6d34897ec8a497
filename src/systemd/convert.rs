//! From typed property values to variants of the wire.

use zbus::Variant;

use super::proxy::Properties;
use crate::{
    plan::properties::PropertyValue,
    unit::{TransientUnit, Value},
};

/// `MS_REC`: a bound directory comes with what is mounted below it (mount(2)), as `BindPaths=` does by default.
const RECURSIVE: u64 = 0x4000;

/// Returns a unit's properties as `StartTransientUnit` takes them.
pub(super) fn properties(unit: &TransientUnit) -> Properties<'_> {
    unit.properties.iter().map(|(name, value)| (*name, variant(value))).collect()
}

fn variant(value: &Value) -> Variant<'_> {
    match value {
        Value::Bool(value) => Variant::new(*value),
        Value::I32(value) => Variant::new(*value),
        Value::U32(value) => Variant::new(*value),
        Value::U64(value) => Variant::new(*value),
        Value::Str(value) => Variant::new(value.as_str()),
        Value::StrList(values) => Variant::new(values.iter().map(String::as_str).collect::<Vec<_>>()),
        Value::BytesList(values) => Variant::new(values.clone()),
        Value::Exec(argv) => {
            let words: Vec<&str> = argv.iter().map(String::as_str).collect();
            Variant::new(vec![(words.first().copied().unwrap_or_default(), words.clone(), false)])
        }
        Value::Pairs(pairs) => Variant::new(pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>()),
        Value::Binds(binds) => {
            Variant::new(binds.iter().map(|(from, to)| (from.as_str(), to.as_str(), false, RECURSIVE)).collect::<Vec<_>>())
        }
        Value::Checked(value, _) => checked(value),
        Value::Filter(allow, names) => Variant::new((*allow, names.iter().map(String::as_str).collect::<Vec<_>>())),
    }
}

fn checked(value: &PropertyValue) -> Variant<'_> {
    match value {
        PropertyValue::Bool(value) => Variant::new(*value),
        PropertyValue::I32(value) => Variant::new(*value),
        PropertyValue::U32(value) => Variant::new(*value),
        PropertyValue::U64(value) => Variant::new(*value),
        PropertyValue::Str(value) => Variant::new(value.as_str()),
        PropertyValue::StrList(values) => Variant::new(values.iter().map(String::as_str).collect::<Vec<_>>()),
        PropertyValue::Bytes(bytes) => Variant::new(bytes.clone()),
        PropertyValue::Filter(allow, names) => Variant::new((*allow, names.iter().map(String::as_str).collect::<Vec<_>>())),
        PropertyValue::StrPairs(pairs) => Variant::new(pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>()),
        PropertyValue::StrU64Pairs(pairs) => Variant::new(pairs.iter().map(|(a, b)| (a.as_str(), *b)).collect::<Vec<_>>()),
        PropertyValue::BindMounts(mounts) => {
            let mount = |mount: &crate::plan::properties::BindMount| {
                (mount.source.clone(), mount.destination.clone(), mount.ignore_missing, mount.flags())
            };
            Variant::new(mounts.iter().map(mount).collect::<Vec<_>>())
        }
        PropertyValue::IpPrefixes(prefixes) => {
            Variant::new(prefixes.iter().map(|prefix| (prefix.family, prefix.address.clone(), prefix.length)).collect::<Vec<_>>())
        }
    }
}
