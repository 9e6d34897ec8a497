//! From typed property values to variants of the wire.

use zbus::Variant;

use super::proxy::Properties;
use crate::unit::{TransientUnit, Value};

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
        Value::Filter(allow, names) => Variant::new((*allow, names.iter().map(String::as_str).collect::<Vec<_>>())),
    }
}
