//! The checked set: each property, its kind, and since when systemd has it.

use super::{PropertyValue, values};

/// A property that a plan may set.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// What its text may be.
    pub(super) kind: Kind,
    /// The first version of systemd that takes it; 252 for those that are older.
    pub since: u32,
    /// Good values.
    pub examples: &'static [&'static str],
}

impl Property {
    /// Returns what its text may be, in words.
    pub fn expected(&self) -> String {
        self.kind.describe()
    }
}

/// What the text of a property may be, and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool,
    /// A boolean, or one of some words, which are sent under another name and have versions of
    /// their own.
    BoolOr(&'static str, &'static [(&'static str, u32)]),
    OneOf(&'static [&'static str]),
    /// Words that are sent as numbers.
    Coded(&'static [(&'static str, i32)]),
    I32(i32, i32),
    /// At least so many bytes, a percentage of the memory, or `infinity`.
    /// With the name under which a percentage is sent.
    Memory(u64, &'static str),
    Tasks,
    /// 1 to 10000, or `idle` where that is a weight.
    Weight {
        idle: bool,
    },
    CpuQuota,
    CpuQuotaPeriod,
    TimerSlack,
    Mode,
    /// With the name of the soft limit.
    Limit(Unit, &'static str),
    BitMask,
    Paths,
    Path,
    BindMounts,
    TemporaryFileSystems,
    IpPrefixes,
    AddressFamilies,
    Interfaces,
    SystemCalls,
    Architectures,
    Errno,
    Namespaces,
    Capabilities,
    User,
    Users,
    Device,
    /// A device or file and a number: bytes a second, or operations.
    DeviceRate(Unit),
    DeviceWeight,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Count,
    Seconds,
}

/// A D-Bus property.
pub(super) struct Sent {
    pub(super) name: &'static str,
    pub(super) value: PropertyValue,
    pub(super) since: u32,
}

impl Kind {
    /// Returns what is sent for a text; `None` if the text is not of this kind.
    pub(super) fn sent(self, name: &'static str, text: &str) -> Option<Vec<Sent>> {
        use PropertyValue as V;
        let text = text.trim();
        let sent = |name, value| {
            Some(vec![Sent {
                name,
                value,
                since: 0,
            }])
        };
        let same = |value| sent(name, value);
        match self {
            Self::Bool => same(V::Bool(values::boolean(text)?)),
            Self::BoolOr(other, words) => match values::boolean(text) {
                Some(value) => same(V::Bool(value)),
                None => {
                    let (word, since) = words.iter().find(|(word, _)| *word == text)?;
                    Some(vec![Sent {
                        name: other,
                        value: V::Str((*word).to_owned()),
                        since: *since,
                    }])
                }
            },
            Self::OneOf(words) => same(V::Str(
                (*words.iter().find(|word| **word == text)?).to_owned(),
            )),
            Self::Coded(codes) => same(V::I32(codes.iter().find(|(word, _)| *word == text)?.1)),
            Self::I32(min, max) => same(V::I32(
                text.parse()
                    .ok()
                    .filter(|value| (min..=max).contains(value))?,
            )),
            Self::Memory(least, scaled) => match (infinity(text), values::percent(text)) {
                (Some(most), _) => same(V::U64(most)),
                (_, Some(hundredths)) => sent(
                    scaled,
                    V::U32(scale(hundredths).filter(|_| hundredths > 0 || least == 0)?),
                ),
                _ => same(V::U64(
                    values::size(text, 1024).filter(|bytes| *bytes >= least)?,
                )),
            },
            Self::Tasks => match (infinity(text), values::percent(text)) {
                (Some(most), _) => same(V::U64(most)),
                (_, Some(hundredths)) => sent(
                    "TasksMaxScale",
                    V::U32(scale(hundredths).filter(|_| hundredths > 0)?),
                ),
                _ => same(V::U64(count(text).filter(|count| *count > 0)?)),
            },
            Self::Weight { idle: true } if text == "idle" => same(V::U64(0)),
            Self::Weight { .. } => same(V::U64(
                count(text).filter(|weight| (1..=10_000).contains(weight))?,
            )),
            Self::CpuQuota => {
                let hundredths =
                    values::percent(text).filter(|quota| (1..=i32::MAX as u64).contains(quota))?;
                sent("CPUQuotaPerSecUSec", V::U64(hundredths * 100))
            }
            Self::CpuQuotaPeriod => sent(
                "CPUQuotaPeriodUSec",
                V::U64(
                    values::microseconds(text)
                        .filter(|period| (1_000..=1_000_000).contains(period))?,
                ),
            ),
            Self::TimerSlack => {
                let nanoseconds = match text.strip_suffix("ns") {
                    Some(digits) => count(digits.trim_end())?,
                    None => values::microseconds(text)
                        .filter(|_| text.ends_with(|c: char| c.is_alphabetic()))?
                        .checked_mul(1000)?,
                };
                same(V::U64(nanoseconds))
            }
            Self::Mode => {
                let octal = text
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'7'))
                    .then(|| u32::from_str_radix(text, 8).ok())?;
                same(V::U32(octal.filter(|mode| *mode <= 0o7777)?))
            }
            Self::Limit(unit, soft_name) => {
                let (soft, hard) = text.split_once(':').unwrap_or((text, text));
                let (soft, hard) = (unit.limit(soft)?, unit.limit(hard)?);
                let of = |name, value| Sent {
                    name,
                    value: V::U64(value),
                    since: 0,
                };
                (soft <= hard).then(|| vec![of(name, hard), of(soft_name, soft)])
            }
            Self::BitMask => same(V::Bytes(values::bit_mask(text)?)),
            Self::Paths => same(V::StrList(list(text, |word| {
                values::marked_path(word).map(str::to_owned)
            })?)),
            Self::Path => same(V::Str(values::path(text)?.to_owned())),
            Self::BindMounts => same(V::BindMounts(list(text, values::bind_mount)?)),
            Self::TemporaryFileSystems => same(V::StrPairs(list(text, |word| {
                let (path, options) = word.split_once(':').unwrap_or((word, ""));
                Some((values::path(path)?.to_owned(), options.to_owned()))
            })?)),
            Self::IpPrefixes => same(V::IpPrefixes(list(text, values::ip_prefixes)?.concat())),
            Self::AddressFamilies => filter(text, |word| {
                let family = word.strip_prefix("AF_")?;
                (!family.is_empty()
                    && family
                        .bytes()
                        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'))
                .then(|| word.to_owned())
            })
            .and_then(same),
            Self::Interfaces => filter(text, |word| {
                let good = word.len() <= 15
                    && !word.contains(|c: char| matches!(c, '/' | ':' | '%') || c.is_control())
                    && !matches!(word, "." | "..");
                good.then(|| word.to_owned())
            })
            .and_then(same),
            Self::SystemCalls => {
                filter(text, |word| values::system_call(word).map(str::to_owned)).and_then(same)
            }
            Self::Architectures => same(V::StrList(list(text, |word| {
                (!word.is_empty()
                    && word
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
                .then(|| word.to_owned())
            })?)),
            Self::Errno => same(V::I32(values::errno(text)?)),
            Self::Namespaces => same(V::U64(values::namespaces(text)?)),
            Self::Capabilities => same(V::U64(values::capabilities(text)?)),
            Self::User => same(V::Str(values::user(text)?.to_owned())),
            Self::Users => same(V::StrList(list(text, |word| {
                values::user(word).map(str::to_owned)
            })?)),
            Self::Device => {
                let (device, access) = text.split_once(' ').unwrap_or((text, "rwm"));
                let access = access.trim();
                let by_class = device
                    .strip_prefix("char-")
                    .or(device.strip_prefix("block-"))
                    .is_some_and(|class| !class.is_empty());
                let good = (by_class
                    || values::path(device).is_some_and(|path| path.starts_with("/dev/")))
                    && !device.contains(char::is_whitespace)
                    && !access.is_empty()
                    && access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
                if good {
                    same(V::StrPairs(vec![(device.to_owned(), access.to_owned())]))
                } else {
                    None
                }
            }
            Self::DeviceRate(unit) => same(V::StrU64Pairs(vec![device_and(text, |rate| {
                match (infinity(rate), unit) {
                    (Some(most), _) => Some(most),
                    (None, Unit::Bytes | Unit::Seconds | Unit::Count) => values::size(rate, 1000),
                }
                .filter(|rate| *rate > 0)
            })?])),
            Self::DeviceWeight => same(V::StrU64Pairs(vec![device_and(text, |weight| {
                count(weight).filter(|weight| (1..=10_000).contains(weight))
            })?])),
        }
    }

    /// Returns what a text of this kind may be, in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Bool => "`yes` or `no`".to_owned(),
            Self::BoolOr(_, words) => format!("`yes`, `no`, {}", ticked(words.iter().map(|(word, _)| *word))),
            Self::OneOf(words) => format!("one of {}", ticked(words.iter().copied())),
            Self::Coded(codes) => format!("one of {}", ticked(codes.iter().map(|(word, _)| *word))),
            Self::I32(min, max) => format!("an integer from {min} to {max}"),
            Self::Memory(..) => "bytes such as `4G`, a percentage of the memory such as `50%`, or `infinity`".to_owned(),
            Self::Tasks => "a number of at least 1, a percentage, or `infinity`".to_owned(),
            Self::Weight { idle: true } => "a weight from 1 to 10000, or `idle`".to_owned(),
            Self::Weight { idle: false } => "a weight from 1 to 10000".to_owned(),
            Self::CpuQuota => "a percentage such as `200%`, of one CPU".to_owned(),
            Self::CpuQuotaPeriod => "a time from `1ms` to `1s`".to_owned(),
            Self::TimerSlack => "a time with its unit, such as `50us`".to_owned(),
            Self::Mode => "an octal mode such as `0077`".to_owned(),
            Self::Limit(Unit::Bytes, _) => "bytes such as `1G`, `infinity`, or a soft and a hard limit such as `1G:2G`".to_owned(),
            Self::Limit(Unit::Count, _) => "a number, `infinity`, or a soft and a hard limit such as `1024:4096`".to_owned(),
            Self::Limit(Unit::Seconds, _) => {
                "a time such as `10min`, `infinity`, or a soft and a hard limit such as `1min:2min`".to_owned()
            }
            Self::BitMask => "indices such as `0-3 8`".to_owned(),
            Self::Paths => "absolute paths, each perhaps after `-` or `+`".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::BindMounts => "bind mounts such as `/source:/destination`".to_owned(),
            Self::TemporaryFileSystems => "absolute paths, each perhaps with options such as `/scratch:size=1G`".to_owned(),
            Self::IpPrefixes => "addresses such as `10.0.0.0/8`, `any`, `localhost`, `link-local` or `multicast`".to_owned(),
            Self::AddressFamilies => "address families such as `AF_UNIX AF_INET`, perhaps after `~`".to_owned(),
            Self::Interfaces => "network interfaces such as `lo`, perhaps after `~`".to_owned(),
            Self::SystemCalls => "system calls or groups such as `@system-service`, perhaps after `~`".to_owned(),
            Self::Architectures => "architectures such as `native`".to_owned(),
            Self::Errno => "an error such as `EPERM`, its number, or `kill`".to_owned(),
            Self::Namespaces => {
                "`yes`, `no`, or some of `cgroup`, `ipc`, `net`, `mnt`, `pid`, `user`, `uts`, `time`, perhaps after `~`".to_owned()
            }
            Self::Capabilities => "capabilities such as `CAP_CHOWN CAP_KILL`, perhaps after `~`".to_owned(),
            Self::User => "a user's or group's name or number".to_owned(),
            Self::Users => "names or numbers of groups".to_owned(),
            Self::Device => "a device and how it may be used, such as `/dev/kvm rw`".to_owned(),
            Self::DeviceRate(_) => "a path and a number, such as `/var 10M`".to_owned(),
            Self::DeviceWeight => "a path and a weight from 1 to 10000, such as `/var 200`".to_owned(),
        }
    }
}

impl Unit {
    fn limit(self, text: &str) -> Option<u64> {
        match (infinity(text), self) {
            (Some(most), _) => Some(most),
            (None, Self::Bytes) => values::size(text, 1024),
            (None, Self::Count) => count(text),
            // The kernel counts whole seconds.
            (None, Self::Seconds) => {
                values::microseconds(text).map(|time| time.div_ceil(1_000_000))
            }
        }
    }
}

fn infinity(text: &str) -> Option<u64> {
    (text == "infinity").then_some(u64::MAX)
}

fn count(text: &str) -> Option<u64> {
    if text.is_empty() {
        None
    } else {
        values::number(text)
    }
}

/// Returns hundredths of a percent as a part of `u32::MAX`, as systemd scales them.
fn scale(hundredths: u64) -> Option<u32> {
    (hundredths <= 10_000).then(|| ((hundredths * u64::from(u32::MAX) + 5_000) / 10_000) as u32)
}

/// Returns at least one word, each made into an item.
fn list<T>(text: &str, item: impl FnMut(&str) -> Option<T>) -> Option<Vec<T>> {
    let items = values::words(text)?
        .iter()
        .map(String::as_str)
        .map(item)
        .collect::<Option<Vec<T>>>()?;
    (!items.is_empty()).then_some(items)
}

/// Returns a list that allows, or after `~` denies.
fn filter(text: &str, item: impl FnMut(&str) -> Option<String>) -> Option<PropertyValue> {
    let (allow, items) = text
        .strip_prefix('~')
        .map_or((true, text), |rest| (false, rest));
    Some(PropertyValue::Filter(allow, list(items, item)?))
}

fn device_and(text: &str, value: impl FnOnce(&str) -> Option<u64>) -> Option<(String, u64)> {
    let (device, rest) = text.split_once(' ')?;
    Some((values::path(device)?.to_owned(), value(rest.trim())?))
}

fn ticked<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns what to do instead of setting a property of systemd that a plan may not set.
pub(super) fn forbidden(name: &str) -> Option<&'static str> {
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    Some(match name {
        "Environment" | "EnvironmentFile" | "EnvironmentFiles" | "PassEnvironment"
        | "UnsetEnvironment" => "variables are set by `env`, `envFrom` and `passEnv`",
        "WorkingDirectory" => "use a step's `workdir`",
        "TimeoutStopSec" | "TimeoutStopUSec" => "how long a job may take to stop is fixed",
        "Type" | "RemainAfterExit" | "GuessMainPID" | "PIDFile" | "BusName" | "NotifyAccess"
        | "CollectMode" | "Slice" | "Delegate" => "the engine sets it",
        "Description"
        | "Documentation"
        | "After"
        | "Before"
        | "Requires"
        | "Wants"
        | "BindsTo"
        | "PartOf"
        | "Conflicts"
        | "DefaultDependencies" => "the engine sets it; order jobs with `needs`",
        _ if is(&["Exec"]) && !matches!(name, "ExecPaths") => {
            "what a job executes stands in its `steps`"
        }
        _ if is(&[
            "Timeout",
            "RuntimeMax",
            "Watchdog",
            "JobTimeout",
            "JobRunning",
        ]) =>
        {
            "use `timeout`"
        }
        _ if is(&[
            "Restart",
            "StartLimit",
            "SuccessExit",
            "OnFailure",
            "OnSuccess",
            "FailureAction",
            "SuccessAction",
        ]) =>
        {
            "use `retry` and `continueOnError`"
        }
        _ if is(&["Kill", "SendSIG", "FinalKill", "WatchdogSignal"]) => {
            "how a job is stopped is fixed"
        }
        _ if is(&["Standard", "Syslog", "Log", "TTY"]) => "a job's output goes to the journal",
        _ if is(&["LoadCredential", "SetCredential", "ImportCredential"]) => {
            "a job's `credentials` name files, and providers (`envFrom`) print variables"
        }
        _ if is(&[
            "RootDirectory",
            "RootImage",
            "RootHash",
            "RootVerity",
            "MountImages",
            "ExtensionImages",
            "ExtensionDirectories",
        ]) =>
        {
            "use an executor of type `nspawn`"
        }
        _ if is(&[
            "StateDirectory",
            "CacheDirectory",
            "LogsDirectory",
            "RuntimeDirectory",
            "ConfigurationDirectory",
        ]) =>
        {
            "use `BindPaths`"
        }
        _ => return None,
    })
}
