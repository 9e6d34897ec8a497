//! The scopes of the kernel's Landlock (landlock(7)), which jobs with a sandbox run in.

use landlock::{ABI, Access, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

/// Returns whether the kernel has these scopes. Restricts nothing.
pub fn has_scopes() -> bool {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::from_all(ABI::V6));
    ruleset.and_then(|ruleset| ruleset.create()).is_ok()
}
