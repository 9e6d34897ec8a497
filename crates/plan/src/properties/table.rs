//! The kinds of the checked properties: the texts that fit and their D-Bus values.

use super::{PropertyValue, values};

/// A property that a plan may set.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// The property's name.
    pub name: &'static str,
    /// The kind of the property's texts.
    pub(super) kind: Kind,
    /// The first version of systemd that accepts the property. 252 stands for 252 and all older
    /// ones.
    pub since: u32,
    /// Texts that fit.
    pub examples: &'static [&'static str],
}

impl Property {
    /// Describes the texts that fit.
    pub fn expected(&self) -> String {
        self.kind.describe()
    }
}

/// The kind of a property's texts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool,
    /// A boolean or one of some words. The words are sent under another name, and each has a first
    /// version of its own.
    BoolOr(&'static str, &'static [(&'static str, u32)]),
    OneOf(&'static [&'static str]),
    /// Words that are sent as numbers.
    Coded(&'static [(&'static str, i32)]),
    I32(i32, i32),
    /// At least this number of bytes, a percentage of the memory, or `infinity`. The name is that
    /// of the D-Bus property for percentages.
    Memory(u64, &'static str),
    Tasks,
    /// 1 to 10000, or `idle` if the property allows it.
    Weight {
        idle: bool,
    },
    CpuQuota,
    CpuQuotaPeriod,
    TimerSlack,
    Mode,
    /// A soft and a hard limit. The name is that of the D-Bus property for the soft one.
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
    /// The path of a device or file, and a number of bytes or operations a second.
    DeviceRate(Unit),
    DeviceWeight,
}

/// The unit that a limit counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Count,
    Seconds,
}

/// A D-Bus property to send.
pub(super) struct Sent {
    pub(super) name: &'static str,
    pub(super) value: PropertyValue,
    pub(super) since: u32,
}

impl Kind {
    /// Returns the D-Bus properties for a text, or `None` if the text is not of this kind.
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

    /// Describes the texts of this kind.
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
            Self::Paths => "absolute paths, each optionally after `-` or `+`".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::BindMounts => "bind mounts such as `/source:/destination`".to_owned(),
            Self::TemporaryFileSystems => "absolute paths, each optionally with options, such as `/scratch:size=1G`".to_owned(),
            Self::IpPrefixes => "addresses such as `10.0.0.0/8`, `any`, `localhost`, `link-local` or `multicast`".to_owned(),
            Self::AddressFamilies => "address families such as `AF_UNIX AF_INET`, optionally after `~`".to_owned(),
            Self::Interfaces => "network interfaces such as `lo`, optionally after `~`".to_owned(),
            Self::SystemCalls => "system calls or groups such as `@system-service`, optionally after `~`".to_owned(),
            Self::Architectures => "architectures such as `native`".to_owned(),
            Self::Errno => "an error such as `EPERM`, its number, or `kill`".to_owned(),
            Self::Namespaces => {
                "`yes`, `no`, or some of `cgroup`, `ipc`, `net`, `mnt`, `pid`, `user`, `uts`, `time`, optionally after `~`".to_owned()
            }
            Self::Capabilities => "capabilities such as `CAP_CHOWN CAP_KILL`, optionally after `~`".to_owned(),
            Self::User => "a user's or group's name or number".to_owned(),
            Self::Users => "names or numbers of groups".to_owned(),
            Self::Device => "a device and its access modes, such as `/dev/kvm rw`".to_owned(),
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

/// Converts hundredths of a percent to systemd's scale, in which `u32::MAX` is 100 %.
fn scale(hundredths: u64) -> Option<u32> {
    (hundredths <= 10_000).then(|| ((hundredths * u64::from(u32::MAX) + 5_000) / 10_000) as u32)
}

/// Parses the words of a text, at least one, into items.
fn list<T>(text: &str, item: impl FnMut(&str) -> Option<T>) -> Option<Vec<T>> {
    let items = values::words(text)?
        .iter()
        .map(String::as_str)
        .map(item)
        .collect::<Option<Vec<T>>>()?;
    (!items.is_empty()).then_some(items)
}

/// Parses a list of items to allow, or after `~` to deny.
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

/// Returns advice for a property of systemd that a plan may not set.
pub(super) fn forbidden(name: &str) -> Option<&'static str> {
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    Some(match name {
        "Environment" | "EnvironmentFile" | "EnvironmentFiles" | "PassEnvironment"
        | "UnsetEnvironment" => "set variables by `env`, `envFrom` and `passEnv`",
        "WorkingDirectory" => "use a step's `workdir`",
        "TimeoutStopSec" | "TimeoutStopUSec" => "the engine sets the time that a job has to stop",
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
            "put the commands of a job into its `steps`"
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
            "the engine decides how to stop a job"
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
