//! Parsers for the texts of property values. They follow systemd's parsers for unit files
//! (systemd.syntax(7), systemd.time(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{BindMount, IpPrefix};

/// The largest index of a CPU or memory node.
const CPU_MAX: usize = 8191;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

/// Splits a text at white space, with quotes and backslashes as in unit files. Returns `None` for
/// an unclosed quote or a backslash at the end.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().push(chars.next()?),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Parses `yes`, `no` and their other spellings.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Parses a number of digits only. `str::parse` accepts a sign, too.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Parses bytes: a number with one of the suffixes K, M, G, T, P, E, to the base 1024 or 1000.
pub(super) fn size(text: &str, base: u64) -> Option<u64> {
    let text = text.trim();
    let (digits, exponent) = match text.char_indices().next_back()? {
        (at, suffix @ ('K' | 'M' | 'G' | 'T' | 'P' | 'E')) => {
            (&text[..at], 1 + "KMGTPE".find(suffix)? as u32)
        }
        (at, 'B') => (&text[..at], 0),
        _ => (text, 0),
    };
    let unit = u128::from(base.pow(exponent));
    let (whole, fraction) = digits
        .trim_end()
        .split_once('.')
        .unwrap_or((digits.trim_end(), "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let part = u128::from(number(fraction)?) * unit / 10_u128.pow(fraction.len() as u32);
    u64::try_from(u128::from(number(whole)?).checked_mul(unit)? + part).ok()
}

/// Parses a percentage into hundredths: `12.5%` is 1250.
pub(super) fn percent(text: &str) -> Option<u64> {
    let (whole, fraction) = text
        .strip_suffix('%')
        .map(|digits| digits.split_once('.').unwrap_or((digits, "0")))?;
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 2 {
        return None;
    }
    let hundredths = number(fraction)? * if fraction.len() == 1 { 10 } else { 1 };
    number(whole)?.checked_mul(100)?.checked_add(hundredths)
}

/// Parses a time span into microseconds. Numbers may have units, as in `1min 30s`. A number without
/// a unit means seconds.
pub(super) fn microseconds(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let (value, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "us" | "usec" | "µs" | "μs" => 1.0,
            "ms" | "msec" => 1e3,
            "" | "s" | "sec" | "second" | "seconds" => 1e6,
            "m" | "min" | "minute" | "minutes" => 60e6,
            "h" | "hr" | "hour" | "hours" => 3600e6,
            "d" | "day" | "days" => 86_400e6,
            "w" | "week" | "weeks" => 604_800e6,
            _ => return None,
        };
        total += value
            .parse::<f64>()
            .ok()
            .filter(|_| value.starts_with(|c: char| c.is_ascii_digit()))?
            * scale;
        rest = tail.trim_start();
    }
    (total < 1e18).then_some(total.round() as u64)
}

/// Parses indices as in `0-3 8,10` into a bit mask with the lowest index first.
pub(super) fn bit_mask(text: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for range in text
        .split(|c: char| c.is_ascii_whitespace() || c == ',')
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)? as usize, number(last)? as usize);
        if first > last || last > CPU_MAX {
            return None;
        }
        mask.resize(mask.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|index| mask[index / 8] |= 1 << (index % 8));
    }
    (!mask.is_empty()).then_some(mask)
}

/// Parses an absolute path.
pub(super) fn path(text: &str) -> Option<&str> {
    let good = text.starts_with('/')
        && !text.contains('\0')
        && text
            .split('/')
            .all(|part| part != ".." && part.len() <= 255)
        && text.len() < 4096;
    good.then_some(text)
}

/// Checks a path after an optional `-` (ignored if missing) and `+` (below the unit's root).
pub(super) fn marked_path(text: &str) -> Option<&str> {
    let bare = text.strip_prefix('-').unwrap_or(text);
    path(bare.strip_prefix('+').unwrap_or(bare)).map(|_| text)
}

/// Parses `[-]SOURCE[:DESTINATION[:rbind|norbind]]`.
pub(super) fn bind_mount(word: &str) -> Option<BindMount> {
    let (ignore_missing, word) = word
        .strip_prefix('-')
        .map_or((false, word), |rest| (true, rest));
    let mut parts = word.split(':');
    let source = path(parts.next()?)?;
    let destination = parts.next().map_or(Some(source), path)?;
    let recursive = match parts.next() {
        None | Some("" | "rbind") => true,
        Some("norbind") => false,
        Some(_) => return None,
    };
    parts.next().is_none().then(|| BindMount {
        source: source.to_owned(),
        destination: destination.to_owned(),
        ignore_missing,
        recursive,
    })
}

/// Parses an address, `ADDRESS/LENGTH`, or one of systemd's names for groups of addresses.
pub(super) fn ip_prefixes(word: &str) -> Option<Vec<IpPrefix>> {
    fn prefix(address: IpAddr, length: u32) -> IpPrefix {
        match address {
            IpAddr::V4(address) => IpPrefix {
                family: AF_INET,
                address: address.octets().to_vec(),
                length,
            },
            IpAddr::V6(address) => IpPrefix {
                family: AF_INET6,
                address: address.octets().to_vec(),
                length,
            },
        }
    }
    let both = |v4: [u8; 4], len4, v6: [u16; 8], len6| {
        Some(vec![
            prefix(Ipv4Addr::from(v4).into(), len4),
            prefix(Ipv6Addr::from(v6).into(), len6),
        ])
    };
    match word {
        "any" => both([0; 4], 0, [0; 8], 0),
        "localhost" => both([127, 0, 0, 0], 8, [0, 0, 0, 0, 0, 0, 0, 1], 128),
        "link-local" => both([169, 254, 0, 0], 16, [0xfe80, 0, 0, 0, 0, 0, 0, 0], 64),
        "multicast" => both([224, 0, 0, 0], 4, [0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        _ => {
            let (address, length) = word
                .split_once('/')
                .map_or((word, None), |(address, length)| (address, Some(length)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = length.map_or(Some(most), |length| {
                number(length).and_then(|length| u32::try_from(length).ok())
            })?;
            (length <= most).then(|| vec![prefix(address, length)])
        }
    }
}

/// Parses the name or number of a user or group.
pub(super) fn user(text: &str) -> Option<&str> {
    let mut bytes = text.bytes();
    let by_name = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && text.len() <= 31;
    let by_number = number(text)
        .and_then(|id| u32::try_from(id).ok())
        .is_some_and(|id| id != u32::MAX && id != 0xffff)
        && !text.is_empty();
    (by_name || by_number).then_some(text)
}

/// Parses names of capabilities into a bit mask. `~` inverts the mask.
pub(super) fn capabilities(text: &str) -> Option<u64> {
    // In the order of linux/capability.h.
    const NAMES: &[&str] = &[
        "chown",
        "dac_override",
        "dac_read_search",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "linux_immutable",
        "net_bind_service",
        "net_broadcast",
        "net_admin",
        "net_raw",
        "ipc_lock",
        "ipc_owner",
        "sys_module",
        "sys_rawio",
        "sys_chroot",
        "sys_ptrace",
        "sys_pacct",
        "sys_admin",
        "sys_boot",
        "sys_nice",
        "sys_resource",
        "sys_time",
        "sys_tty_config",
        "mknod",
        "lease",
        "audit_write",
        "audit_control",
        "setfcap",
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "block_suspend",
        "audit_read",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    ];
    let (invert, list) = text
        .strip_prefix('~')
        .map_or((false, text), |rest| (true, rest));
    let mut mask = 0;
    for word in list.split_ascii_whitespace() {
        let word = word.to_ascii_lowercase();
        let index = NAMES
            .iter()
            .position(|name| word.strip_prefix("cap_") == Some(name))?;
        mask |= 1 << index;
    }
    Some(if invert { !mask } else { mask })
}

/// Parses the kinds of namespaces that a job may create into clone(2) flags. `yes` means none, `no`
/// means all, a list means the listed kinds, and `~` inverts the list.
pub(super) fn namespaces(text: &str) -> Option<u64> {
    const KINDS: &[(&str, u64)] = &[
        ("cgroup", 0x0200_0000),
        ("ipc", 0x0800_0000),
        ("net", 0x4000_0000),
        ("mnt", 0x0002_0000),
        ("pid", 0x2000_0000),
        ("user", 0x1000_0000),
        ("uts", 0x0400_0000),
        ("time", 0x80),
    ];
    if let Some(restrict) = boolean(text) {
        // Set all bits, as newer versions know more kinds. Each version looks only at the bits that
        // it knows.
        return Some(if restrict { 0 } else { u64::MAX });
    }
    let (invert, list) = text
        .strip_prefix('~')
        .map_or((false, text), |rest| (true, rest));
    let mut flags = 0;
    for word in list.split_ascii_whitespace() {
        flags |= KINDS.iter().find(|(kind, _)| *kind == word)?.1;
    }
    Some(if invert { !flags } else { flags })
}

/// Parses the name or number of a system call's error, or `kill`.
pub(super) fn errno(text: &str) -> Option<i32> {
    match text {
        "EPERM" => Some(1),
        "ENOENT" => Some(2),
        "EIO" => Some(5),
        "EAGAIN" => Some(11),
        "EACCES" => Some(13),
        "EINVAL" => Some(22),
        "ENOSYS" => Some(38),
        "EOPNOTSUPP" => Some(95),
        "kill" => Some(i32::MAX),
        _ => number(text)
            .and_then(|error| i32::try_from(error).ok())
            .filter(|error| (1..4096).contains(error)),
    }
}

/// Checks the name of a system call or of a group of them, with an optional `:` and error.
pub(super) fn system_call(word: &str) -> Option<&str> {
    const GROUPS: &[&str] = &[
        "aio",
        "basic-io",
        "chown",
        "clock",
        "cpu-emulation",
        "debug",
        "default",
        "file-system",
        "io-event",
        "ipc",
        "keyring",
        "known",
        "memlock",
        "module",
        "mount",
        "network-io",
        "obsolete",
        "pkey",
        "privileged",
        "process",
        "raw-io",
        "reboot",
        "resources",
        "sandbox",
        "setuid",
        "signal",
        "swap",
        "sync",
        "system-service",
        "timer",
    ];
    let (name, error) = word
        .split_once(':')
        .map_or((word, None), |(name, error)| (name, Some(error)));
    let known = match name.strip_prefix('@') {
        Some(group) => GROUPS.contains(&group),
        None => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }
    };
    (known && error.is_none_or(|error| errno(error).is_some())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_in_unit_files() {
        assert_eq!(
            words(r#" a  "b c" 'd"e' f\ g "" "#).unwrap(),
            ["a", "b c", "d\"e", "f g", ""]
        );
        assert_eq!(words("\"open"), None);
        assert_eq!(words("a\\"), None);
    }

    #[test]
    fn sizes_times_and_percentages() {
        assert_eq!(size("4G", 1024), Some(4 << 30));
        assert_eq!(size("1.5K", 1024), Some(1536));
        assert_eq!(size("10M", 1000), Some(10_000_000));
        for bad in [
            "",
            "G",
            "4Q",
            "-1",
            "1e3",
            "4 GB",
            "99999999999E",
            "1.",
            "+5",
        ] {
            assert_eq!(size(bad, 1024), None, "{bad}");
        }
        assert_eq!(percent("12.5%"), Some(1250));
        assert_eq!(percent("200%"), Some(20_000));
        assert_eq!(percent("5"), None);
        assert_eq!(percent("-5%"), None);
        assert_eq!(microseconds("1min 30s"), Some(90_000_000));
        assert_eq!(microseconds("1.5"), Some(1_500_000));
        assert_eq!(microseconds("100ms"), Some(100_000));
        for bad in ["", "s", "5 apples", "-1s", "1..2"] {
            assert_eq!(microseconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn masks_addresses_and_binds() {
        assert_eq!(bit_mask("0-3 9,10"), Some(vec![0b1111, 0b110]));
        for bad in ["", "3-1", "x", "9999", "1-"] {
            assert_eq!(bit_mask(bad), None, "{bad}");
        }
        assert_eq!(
            ip_prefixes("10.0.0.0/8"),
            Some(vec![IpPrefix {
                family: 2,
                address: vec![10, 0, 0, 0],
                length: 8
            }])
        );
        assert_eq!(ip_prefixes("any").map(|both| both.len()), Some(2));
        for bad in ["10.0.0.0/33", "example.org", "1.2.3"] {
            assert_eq!(ip_prefixes(bad), None, "{bad}");
        }
        let bind = bind_mount("-/a:/b:norbind").unwrap();
        assert_eq!(
            (
                bind.source.as_str(),
                bind.destination.as_str(),
                bind.ignore_missing,
                bind.recursive
            ),
            ("/a", "/b", true, false)
        );
        for bad in ["a", "/a:b", "/a:/b:x", "/a:/b:rbind:x", "/a/../b"] {
            assert!(bind_mount(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn capabilities_and_namespaces_are_bits() {
        assert_eq!(capabilities("CAP_CHOWN cap_kill"), Some(0b10_0001));
        assert_eq!(capabilities("~CAP_CHOWN"), Some(!1));
        assert_eq!(capabilities(""), Some(0));
        assert_eq!(capabilities("CHOWN"), None);
        assert_eq!(namespaces("yes"), Some(0));
        assert_eq!(namespaces("no"), Some(u64::MAX));
        assert_eq!(namespaces("user"), Some(0x1000_0000));
        assert_eq!(namespaces("~user"), Some(!0x1000_0000));
        assert_eq!(namespaces("users"), None);
    }
}
