//! The list of the properties that a plan may set.

use super::table::{Kind, Property, Unit};

const fn p(name: &'static str, kind: Kind, examples: &'static [&'static str]) -> Property {
    Property {
        name,
        kind,
        since: 252,
        examples,
    }
}

const fn since(since: u32, property: Property) -> Property {
    Property { since, ..property }
}

const YES: &[&str] = &["yes", "no"];
const PATHS: &[&str] = &["/var /srv", "-/nowhere-at-all", "+/var"];
const RATE: &[&str] = &["/ 10M", "/ infinity"];

/// The properties that a plan may set.
pub const KNOWN: &[Property] = &[
    // Resources: systemd.resource-control(5).
    p("CPUAccounting", Kind::Bool, YES),
    p("CPUWeight", Kind::Weight { idle: true }, &["200", "idle"]),
    p("StartupCPUWeight", Kind::Weight { idle: true }, &["200"]),
    p("CPUQuota", Kind::CpuQuota, &["200%", "12.5%"]),
    p("CPUQuotaPeriodSec", Kind::CpuQuotaPeriod, &["100ms"]),
    p("AllowedCPUs", Kind::BitMask, &["0", "0-1"]),
    p("AllowedMemoryNodes", Kind::BitMask, &["0"]),
    p("MemoryAccounting", Kind::Bool, YES),
    p(
        "MemoryMin",
        Kind::Memory(0, "MemoryMinScale"),
        &["10M", "0", "1%"],
    ),
    p(
        "MemoryLow",
        Kind::Memory(0, "MemoryLowScale"),
        &["10M", "1%"],
    ),
    p(
        "MemoryHigh",
        Kind::Memory(1, "MemoryHighScale"),
        &["4G", "50%", "infinity"],
    ),
    p(
        "MemoryMax",
        Kind::Memory(1, "MemoryMaxScale"),
        &["4G", "50%", "infinity"],
    ),
    p(
        "MemorySwapMax",
        Kind::Memory(0, "MemorySwapMaxScale"),
        &["1G", "0", "50%", "infinity"],
    ),
    since(
        253,
        p(
            "MemoryZSwapMax",
            Kind::Memory(0, "MemoryZSwapMaxScale"),
            &["1G", "0", "50%"],
        ),
    ),
    since(256, p("MemoryZSwapWriteback", Kind::Bool, YES)),
    since(254, p("MemoryKSM", Kind::Bool, YES)),
    p("TasksAccounting", Kind::Bool, YES),
    p("TasksMax", Kind::Tasks, &["512", "10%", "infinity"]),
    p("IOAccounting", Kind::Bool, YES),
    p("IOWeight", Kind::Weight { idle: false }, &["200"]),
    p("IODeviceWeight", Kind::DeviceWeight, &["/ 200"]),
    p("IOReadBandwidthMax", Kind::DeviceRate(Unit::Bytes), RATE),
    p("IOWriteBandwidthMax", Kind::DeviceRate(Unit::Bytes), RATE),
    p("IOReadIOPSMax", Kind::DeviceRate(Unit::Count), &["/ 1K"]),
    p("IOWriteIOPSMax", Kind::DeviceRate(Unit::Count), &["/ 1K"]),
    p("IPAccounting", Kind::Bool, YES),
    p(
        "IPAddressAllow",
        Kind::IpPrefixes,
        &["10.0.0.0/8 ::1", "localhost", "any"],
    ),
    p(
        "IPAddressDeny",
        Kind::IpPrefixes,
        &["any", "link-local multicast"],
    ),
    p(
        "RestrictNetworkInterfaces",
        Kind::Interfaces,
        &["lo", "~eth0"],
    ),
    p(
        "DevicePolicy",
        Kind::OneOf(&["auto", "closed", "strict"]),
        &["closed"],
    ),
    p(
        "DeviceAllow",
        Kind::Device,
        &["/dev/null rw", "char-pts", "/dev/fuse"],
    ),
    // Limits: setrlimit(2).
    p(
        "LimitCPU",
        Kind::Limit(Unit::Seconds, "LimitCPUSoft"),
        &["10min", "60:infinity"],
    ),
    p(
        "LimitFSIZE",
        Kind::Limit(Unit::Bytes, "LimitFSIZESoft"),
        &["1G"],
    ),
    p(
        "LimitDATA",
        Kind::Limit(Unit::Bytes, "LimitDATASoft"),
        &["1G"],
    ),
    p(
        "LimitSTACK",
        Kind::Limit(Unit::Bytes, "LimitSTACKSoft"),
        &["8M:infinity"],
    ),
    p(
        "LimitCORE",
        Kind::Limit(Unit::Bytes, "LimitCORESoft"),
        &["0"],
    ),
    p(
        "LimitRSS",
        Kind::Limit(Unit::Bytes, "LimitRSSSoft"),
        &["1G"],
    ),
    p(
        "LimitNOFILE",
        Kind::Limit(Unit::Count, "LimitNOFILESoft"),
        &["1024:4096"],
    ),
    p(
        "LimitAS",
        Kind::Limit(Unit::Bytes, "LimitASSoft"),
        &["infinity"],
    ),
    p(
        "LimitNPROC",
        Kind::Limit(Unit::Count, "LimitNPROCSoft"),
        &["4096"],
    ),
    p(
        "LimitMEMLOCK",
        Kind::Limit(Unit::Bytes, "LimitMEMLOCKSoft"),
        &["64K"],
    ),
    p(
        "LimitLOCKS",
        Kind::Limit(Unit::Count, "LimitLOCKSSoft"),
        &["64"],
    ),
    p(
        "LimitSIGPENDING",
        Kind::Limit(Unit::Count, "LimitSIGPENDINGSoft"),
        &["1024"],
    ),
    p(
        "LimitMSGQUEUE",
        Kind::Limit(Unit::Bytes, "LimitMSGQUEUESoft"),
        &["800K"],
    ),
    p(
        "LimitRTPRIO",
        Kind::Limit(Unit::Count, "LimitRTPRIOSoft"),
        &["0"],
    ),
    // Scheduling: systemd.exec(5).
    p("Nice", Kind::I32(-20, 19), &["10", "-5"]),
    p(
        "CPUSchedulingPolicy",
        Kind::Coded(&[
            ("other", 0),
            ("batch", 3),
            ("idle", 5),
            ("fifo", 1),
            ("rr", 2),
        ]),
        &["batch"],
    ),
    p("CPUSchedulingPriority", Kind::I32(0, 99), &["0"]),
    p("CPUSchedulingResetOnFork", Kind::Bool, YES),
    p("CPUAffinity", Kind::BitMask, &["0", "0-1"]),
    p(
        "NUMAPolicy",
        Kind::Coded(&[
            ("default", 0),
            ("preferred", 1),
            ("bind", 2),
            ("interleave", 3),
            ("local", 4),
        ]),
        &["local"],
    ),
    p("NUMAMask", Kind::BitMask, &["0"]),
    p(
        "IOSchedulingClass",
        Kind::Coded(&[("realtime", 1), ("best-effort", 2), ("idle", 3)]),
        &["idle"],
    ),
    p("IOSchedulingPriority", Kind::I32(0, 7), &["7"]),
    p("TimerSlackNSec", Kind::TimerSlack, &["50us", "1000ns"]),
    p("OOMScoreAdjust", Kind::I32(-1000, 1000), &["500"]),
    p(
        "OOMPolicy",
        Kind::OneOf(&["continue", "stop", "kill"]),
        &["kill"],
    ),
    // Identity.
    p("User", Kind::User, &["nobody", "65534"]),
    p("Group", Kind::User, &["nogroup"]),
    p("SupplementaryGroups", Kind::Users, &["games tty"]),
    p("DynamicUser", Kind::Bool, YES),
    p("UMask", Kind::Mode, &["0077", "22"]),
    p(
        "KeyringMode",
        Kind::OneOf(&["inherit", "private", "shared"]),
        &["private"],
    ),
    p(
        "Personality",
        Kind::OneOf(&["x86", "x86-64", "arm64", "ppc64-le", "s390x"]),
        &["x86-64"],
    ),
    // Isolation.
    p(
        "PrivateTmp",
        Kind::BoolOr("PrivateTmpEx", &[("disconnected", 257)]),
        &["yes", "disconnected"],
    ),
    p("PrivateDevices", Kind::Bool, YES),
    p("PrivateNetwork", Kind::Bool, YES),
    p(
        "PrivateUsers",
        Kind::BoolOr(
            "PrivateUsersEx",
            &[("self", 257), ("identity", 257), ("full", 258)],
        ),
        &["yes", "self", "identity", "full"],
    ),
    p("PrivateMounts", Kind::Bool, YES),
    p("PrivateIPC", Kind::Bool, YES),
    since(257, p("PrivatePIDs", Kind::OneOf(&["yes", "no"]), YES)),
    p("NetworkNamespacePath", Kind::Path, &["/proc/1/ns/net"]),
    p("IPCNamespacePath", Kind::Path, &["/proc/1/ns/ipc"]),
    p(
        "ProtectSystem",
        Kind::OneOf(&["yes", "no", "full", "strict"]),
        &["strict", "full"],
    ),
    p(
        "ProtectHome",
        Kind::OneOf(&["yes", "no", "read-only", "tmpfs"]),
        &["tmpfs"],
    ),
    p(
        "ProtectProc",
        Kind::OneOf(&["noaccess", "invisible", "ptraceable", "default"]),
        &["invisible"],
    ),
    p("ProcSubset", Kind::OneOf(&["all", "pid"]), &["pid"]),
    p("ProtectKernelTunables", Kind::Bool, YES),
    p("ProtectKernelModules", Kind::Bool, YES),
    p("ProtectKernelLogs", Kind::Bool, YES),
    p("ProtectClock", Kind::Bool, YES),
    p("ProtectHostname", Kind::Bool, YES),
    p(
        "ProtectControlGroups",
        Kind::BoolOr(
            "ProtectControlGroupsEx",
            &[("private", 257), ("strict", 257)],
        ),
        &["yes", "private", "strict"],
    ),
    p("ReadWritePaths", Kind::Paths, PATHS),
    p("ReadOnlyPaths", Kind::Paths, PATHS),
    p(
        "InaccessiblePaths",
        Kind::Paths,
        &["/srv", "-/nowhere-at-all"],
    ),
    p("ExecPaths", Kind::Paths, PATHS),
    p("NoExecPaths", Kind::Paths, &["/srv", "-/nowhere-at-all"]),
    p(
        "BindPaths",
        Kind::BindMounts,
        &["/var:/srv", "-/nowhere-at-all:/srv:norbind", "/opt"],
    ),
    p(
        "BindReadOnlyPaths",
        Kind::BindMounts,
        &["/etc:/srv:rbind", "/usr"],
    ),
    p(
        "TemporaryFileSystem",
        Kind::TemporaryFileSystems,
        &["/srv", "/srv:size=1M,mode=0700 /opt:ro"],
    ),
    p("MountAPIVFS", Kind::Bool, YES),
    p("RemoveIPC", Kind::Bool, YES),
    // Privileges and system calls.
    p("NoNewPrivileges", Kind::Bool, YES),
    p(
        "CapabilityBoundingSet",
        Kind::Capabilities,
        &["", "CAP_CHOWN CAP_KILL", "~CAP_SYS_ADMIN"],
    ),
    p(
        "AmbientCapabilities",
        Kind::Capabilities,
        &["", "CAP_NET_BIND_SERVICE"],
    ),
    p(
        "RestrictNamespaces",
        Kind::Namespaces,
        &["yes", "no", "user mnt", "~user"],
    ),
    p(
        "RestrictAddressFamilies",
        Kind::AddressFamilies,
        &["AF_UNIX AF_INET AF_INET6", "~AF_PACKET"],
    ),
    p("RestrictRealtime", Kind::Bool, YES),
    p("RestrictSUIDSGID", Kind::Bool, YES),
    p("LockPersonality", Kind::Bool, YES),
    p("MemoryDenyWriteExecute", Kind::Bool, YES),
    p(
        "SystemCallFilter",
        Kind::SystemCalls,
        &["@system-service", "~@clock @mount", "~reboot:EPERM ptrace"],
    ),
    p("SystemCallLog", Kind::SystemCalls, &["@clock", "~@clock"]),
    p("SystemCallArchitectures", Kind::Architectures, &["native"]),
    p("SystemCallErrorNumber", Kind::Errno, &["EPERM", "38"]),
    p("IgnoreSIGPIPE", Kind::Bool, YES),
];
