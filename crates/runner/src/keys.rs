//! The keys that the kernel keeps for a user (keyrings(7)). They outlive the user's processes.
//!
//! Later jobs may have the same user. So each runner of a job with a user of its own removes the
//! user's keys before the steps and after them. systemd gives each job a session keyring. The
//! sandbox `strict` denies the system calls, also to the runner: no step can add keys there.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};

/// Removes the keys of this process's user: user-keyring(7), user-session-keyring(7) and
/// persistent-keyring(7).
pub(super) fn forget() {
    let of_user = |id| KeyRing::from_special_id(id, false);
    let rings: [&dyn Fn() -> Result<KeyRing, KeyError>; 3] = [
        &|| of_user(KeyRingIdentifier::User),
        &|| of_user(KeyRingIdentifier::UserSession),
        // The keyring of the process ends with it.
        &|| KeyRing::get_persistent(KeyRingIdentifier::Process),
    ];
    for ring in rings {
        // A kernel without keys, a sandbox that denies the calls, or a keyring that does not exist.
        let _ = ring().and_then(|ring| ring.clear());
    }
}
