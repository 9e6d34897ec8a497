//! The units and settings of a private manager, as text. Pure.
//!
//! The manager does not see the host's units and settings, so everything that a transient unit
//! refers to must be here.

use std::{ffi::OsStr, path::Path};

use super::{Spec, check::Bus};
use crate::unit::{UnitName, command_line};

/// The directories in which the manager looks for units. It writes transient units to the first
/// two; without these, a daemon-reload would lose every transient unit.
pub(super) const UNIT_PATH: &str =
    "/run/systemd/system.control:/run/systemd/transient:/run/systemd/system";
/// A directory that does not exist, so that the manager runs no generator of the host.
pub(super) const NO_GENERATORS: &str = "/run/nixactions/no-generators";
/// An empty directory that is mounted over hidden ones.
pub(super) const EMPTY: &str = "/run/nixactions/empty";
/// The machine's id, as seen inside.
pub(super) const MACHINE_ID: &str = "/run/nixactions/machine-id";

const BUS_CONFIG: &str = "/run/nixactions/dbus.conf";

/// Targets that units with default dependencies require or are ordered against (systemd.unit(5),
/// systemd.special(7)).
const TARGETS: [&str; 8] = [
    "basic",
    "network",
    "network-online",
    "shutdown",
    "slices",
    "sockets",
    "sysinit",
    "umount",
];

/// Returns the files below /run, by their absolute paths.
pub(super) fn files(spec: &Spec) -> Vec<(String, String)> {
    let unit = |name: &str, text: String| (format!("/run/systemd/system/{name}"), text);
    let supervisor = UnitName::supervisor(&spec.run).to_string();
    let mut files = vec![
        unit("default.target", default_target(&supervisor)),
        unit(&supervisor, supervisor_service(spec)),
        unit(
            "nixactions.slice",
            "[Unit]\nDescription=NixActions runs\nDocumentation=man:nixactions(1)\nDefaultDependencies=no\n".to_owned(),
        ),
        unit("dbus.socket", DBUS_SOCKET.to_owned()),
        unit("dbus.service", dbus_service(&spec.programs.bus)),
        unit("systemd-journald.socket", JOURNALD_SOCKET.to_owned()),
        unit("systemd-journald-dev-log.socket", JOURNALD_DEV_LOG_SOCKET.to_owned()),
        unit("systemd-journald.service", journald_service(&spec.programs.journald)),
        (BUS_CONFIG.to_owned(), BUS_CONFIG_TEXT.to_owned()),
        ("/run/nixactions/dbus-services/org.freedesktop.systemd1.service".to_owned(), BUS_SYSTEMD.to_owned()),
        // These settings win: their names sort after those of the host.
        ("/run/systemd/system.conf.d/zz-nixactions.conf".to_owned(), SYSTEM_CONF.to_owned()),
        ("/run/systemd/journald.conf.d/zz-nixactions.conf".to_owned(), JOURNALD_CONF.to_owned()),
        // Tells journald to write to /var/log at once. Usually systemd-journal-flush.service(8)
        // does so.
        ("/run/systemd/journal/flushed".to_owned(), String::new()),
    ];
    for name in TARGETS {
        files.push(unit(
            &format!("{name}.target"),
            format!(
                "[Unit]\nDescription={name}, in the manager of {}\nDefaultDependencies=no\n",
                spec.run
            ),
        ));
    }
    files
}

fn default_target(supervisor: &str) -> String {
    format!(
        "[Unit]\nDescription=CI run\nDefaultDependencies=no\nWants={supervisor} basic.target sysinit.target\nAfter={supervisor}\n"
    )
}

/// Adds the settings that only an embedded manager needs to those of the supervisor.
fn supervisor_service(spec: &Spec) -> String {
    // PID 1 ends with the supervisor. systemd restarts a supervisor that fails, without limit,
    // unless it cannot be executed at all (203, systemd.exec(5)). SuccessAction= and OnSuccess= do
    // not work here: systemd 252 counts a service between two restarts as successful. The command
    // needs full privileges, since the supervisor has few.
    let exit = format!(
        "case $SERVICE_RESULT-$EXIT_STATUS in success-*) code=0;; *-203) code=203;; *) exit 0;; esac; exec {} --force exit $code",
        spec.programs.systemctl.display()
    );
    let exit = command_line(["/bin/sh", "-c", &exit].map(OsStr::new).into_iter());
    // A shutdown waits for the supervisor, and for the bus that tells it how its jobs end.
    // Otherwise the run would have no record.
    let (unit, service) = &spec.supervisor;
    format!(
        "\
[Unit]
{unit}DefaultDependencies=no
Requires=dbus.socket systemd-journald.socket
Wants=dbus.service systemd-journald.service
After=dbus.socket dbus.service systemd-journald.socket systemd-journald-dev-log.socket
Conflicts=shutdown.target
Before=shutdown.target

[Service]
{service}ExecStopPost=+{exit}
RestartPreventExitStatus=203
"
    )
}

const DBUS_SOCKET: &str = "\
[Unit]
Description=D-Bus socket, for root only
DefaultDependencies=no

[Socket]
ListenStream=/run/dbus/system_bus_socket
SocketMode=0600
";

fn dbus_service(bus: &Bus) -> String {
    let command = match bus {
        Bus::Daemon(path) => {
            let options = [
                BUS_CONFIG_OPTION,
                "--address=systemd:",
                "--nofork",
                "--nopidfile",
                "--systemd-activation",
            ]
            .map(OsStr::new);
            command_line([path.as_os_str()].into_iter().chain(options))
        }
        Bus::Broker(path) => command_line(
            [
                path.as_os_str(),
                "--scope".as_ref(),
                "system".as_ref(),
                BUS_CONFIG_OPTION.as_ref(),
            ]
            .into_iter(),
        ),
    };
    // Not Type=notify: some builds of dbus-daemon lack it, and the socket exists before the service
    // anyway.
    format!(
        "\
[Unit]
Description=D-Bus
DefaultDependencies=no
Requires=dbus.socket
After=dbus.socket systemd-journald.socket

[Service]
Sockets=dbus.socket
ExecStart={command}
OOMScoreAdjust=-900
LimitNOFILE=65536
"
    )
}

const BUS_CONFIG_OPTION: &str = "--config-file=/run/nixactions/dbus.conf";

/// The limits of a session bus: a DAG of thousands of units is one message.
const BUS_CONFIG_TEXT: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <servicedir>/run/nixactions/dbus-services</servicedir>
  <policy context="default">
    <deny user="*"/>
    <allow user="root"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
  <policy user="root">
    <allow own="*"/>
    <allow send_type="method_call"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">134217728</limit>
  <limit name="max_completed_connections">100000</limit>
  <limit name="max_connections_per_user">100000</limit>
  <limit name="max_match_rules_per_connection">100000</limit>
  <limit name="max_replies_per_connection">100000</limit>
</busconfig>
"#;

/// Makes a call to systemd wait until systemd is on the bus, instead of fail.
const BUS_SYSTEMD: &str =
    "[D-BUS Service]\nName=org.freedesktop.systemd1\nExec=/bin/false\nUser=root\n";

const JOURNALD_SOCKET: &str = "\
[Unit]
Description=Journal sockets
DefaultDependencies=no

[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
SocketMode=0666
PassCredentials=yes
PassSecurity=yes
ReceiveBuffer=8M
Service=systemd-journald.service
";

const JOURNALD_DEV_LOG_SOCKET: &str = "\
[Unit]
Description=Syslog socket of the journal
DefaultDependencies=no

[Socket]
ListenDatagram=/run/systemd/journal/dev-log
Symlinks=/dev/log
SocketMode=0666
PassCredentials=yes
PassSecurity=yes
ReceiveBuffer=8M
Service=systemd-journald.service
";

fn journald_service(program: &Path) -> String {
    let command = command_line([program.as_os_str()].into_iter());
    // The audit capabilities are left out: the kernel's audit messages belong to the host. The file
    // descriptor store keeps the output of running jobs when journald restarts on a full log store.
    format!(
        "\
[Unit]
Description=Journal
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket systemd-journald-dev-log.socket
StartLimitIntervalSec=0

[Service]
Type=notify
Sockets=systemd-journald.socket systemd-journald-dev-log.socket
ExecStart={command}
Restart=always
RestartSec=0
StandardOutput=null
FileDescriptorStoreMax=16384
OOMScoreAdjust=-250
LimitNOFILE=524288
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_CHOWN CAP_DAC_READ_SEARCH CAP_FOWNER CAP_SETUID CAP_SETGID CAP_MAC_OVERRIDE
"
    )
}

const SYSTEM_CONF: &str = "\
[Manager]
CtrlAltDelBurstAction=none
RuntimeWatchdogSec=0
RebootWatchdogSec=0
KExecWatchdogSec=0
DefaultTimeoutStopSec=90s
";

/// The journal keeps all output of a run in one place. Its bound does not depend on the disk's
/// size, so that a run's log does not depend on how full the disk is. journald
/// leaves room for the run's own files.
const JOURNALD_CONF: &str = "\
[Journal]
Storage=persistent
SplitMode=none
Seal=no
RateLimitIntervalSec=0
RateLimitBurst=0
SystemMaxUse=8G
SystemKeepFree=4M
SystemMaxFileSize=256M
SystemMaxFiles=1000
MaxRetentionSec=0
MaxFileSec=0
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
ReadKMsg=no
Audit=
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_refer_only_to_units_that_exist() {
        let spec = Spec {
            private_file: None,
            run: "ci-1".parse().unwrap(),
            run_dir: "/state/runs/ci-1".into(),
            supervisor: (
                "After=dbus.service\n".into(),
                "Slice=nixactions.slice\n".into(),
            ),
            keep: Vec::new(),
            programs: super::super::check::Programs {
                systemd: "/lib/systemd/systemd".into(),
                systemctl: "/bin/systemctl".into(),
                journald: "/lib/systemd/systemd-journald".into(),
                bus: Bus::Daemon("/usr/bin/dbus-daemon".into()),
            },
            console: None,
        };
        let files = files(&spec);
        let units: Vec<&str> = files
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("/run/systemd/system/"))
            .collect();
        for (path, text) in &files {
            for line in text.lines() {
                let Some((key, value)) = line.split_once('=') else {
                    continue;
                };
                if matches!(
                    key,
                    "Wants" | "Requires" | "After" | "Sockets" | "Service" | "Slice"
                ) {
                    for name in value.split_whitespace() {
                        assert!(units.contains(&name), "{path}: {line}");
                    }
                }
            }
        }
    }
}
