//! `--notify`: the units that start when a run has ended.

use super::StartError;
use crate::unit::{ManagerKind, Notify};

/// The longest name of a template unit: with the run's id, systemd takes 255 bytes.
const UNIT_MAX: usize = 100;

/// Returns the units of the arguments.
///
/// Fails for the first one that is invalid, or that the manager cannot have.
pub(super) fn of(arguments: &[String], manager: ManagerKind) -> Result<Notify, StartError> {
    let mut notify = Notify::default();
    for text in arguments {
        let fault = |what| StartError::Notify {
            text: text.clone(),
            what,
        };
        let (when, unit) = text
            .split_once('=')
            .ok_or_else(|| fault("the `=` between event and unit is missing"))?;
        let units = match when {
            "failure" => &mut notify.failure,
            "success" => &mut notify.success,
            "recovery" => &mut notify.recovery,
            _ => return Err(fault("the event is unknown")),
        };
        if !is_template(unit) {
            return Err(fault("the unit is not a template of a service"));
        }
        if manager == ManagerKind::Embedded {
            return Err(fault("an embedded manager has none of the machine's units"));
        }
        units.push(unit.to_owned());
    }
    Ok(notify)
}

/// Returns whether a text is the name of a service's template (systemd.unit(5)).
fn is_template(unit: &str) -> bool {
    let Some(prefix) = unit.strip_suffix("@.service") else {
        return false;
    };
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b":_.-\\".contains(&byte);
    !prefix.is_empty() && unit.len() <= UNIT_MAX && prefix.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str], manager: ManagerKind) -> Result<Notify, String> {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        of(&arguments, manager).map_err(|error| error.to_string())
    }

    #[test]
    fn units_are_sorted_by_their_event() {
        let notify = told(
            &[
                "failure=a@.service",
                "recovery=b@.service",
                "failure=c-d@.service",
            ],
            ManagerKind::System,
        );
        let notify = notify.unwrap();
        assert_eq!(notify.failure, ["a@.service", "c-d@.service"]);
        assert_eq!((notify.recovery.len(), notify.success.len()), (1, 0));
    }

    #[test]
    fn other_units_and_events_are_refused() {
        for (text, what) in [
            ("failure", "`=`"),
            ("end=a@.service", "the event is unknown"),
            ("failure=a.service", "not a template"),
            ("failure=a@b.service", "not a template"),
            ("failure=@.service", "not a template"),
            ("failure=a b@.service", "not a template"),
            ("failure=../a@.service", "not a template"),
        ] {
            let error = told(&[text], ManagerKind::System).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        let error = told(&["failure=a@.service"], ManagerKind::Embedded).unwrap_err();
        assert!(error.contains("none of the machine's units"), "{error}");
    }
}
