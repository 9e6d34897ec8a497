//! Every property of the checked set, started on the systemd of a machine: what the plan accepts,
//! systemd must accept.
//!
//! The test speaks to the machine's bus from outside. The peer is `systemd-run --property=`: PID 1
//! must understand the same of both.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::HashMap, fmt::Write as _, fs, time::Duration};

use futures_util::StreamExt as _;
use nixactions::plan::properties::{self, KNOWN, PropertyValue, UnitProperty};
use nixactions_harness::{Machine, Manager, on_managers};
use zbus::{OwnedObjectPath, Variant};

on_managers!(systemd_takes_every_property_of_the_checked_set on system_252, system_257, system_262);

type Properties<'a> = Vec<(&'a str, Variant<'a>)>;

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn subscribe(&self) -> zbus::Result<()>;
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &Properties<'_>,
        aux: &[(&str, Properties<'_>)],
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
}

fn variant(value: &PropertyValue) -> Variant<'_> {
    match value {
        PropertyValue::Bool(v) => Variant::new(*v),
        PropertyValue::I32(v) => Variant::new(*v),
        PropertyValue::U32(v) => Variant::new(*v),
        PropertyValue::U64(v) => Variant::new(*v),
        PropertyValue::Str(v) => Variant::new(v.as_str()),
        PropertyValue::StrList(v) => Variant::new(v.iter().map(String::as_str).collect::<Vec<_>>()),
        PropertyValue::Bytes(v) => Variant::new(v.clone()),
        PropertyValue::Filter(allow, v) => {
            Variant::new((*allow, v.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        PropertyValue::StrPairs(v) => Variant::new(
            v.iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect::<Vec<_>>(),
        ),
        PropertyValue::StrU64Pairs(v) => {
            Variant::new(v.iter().map(|(a, b)| (a.as_str(), *b)).collect::<Vec<_>>())
        }
        PropertyValue::BindMounts(v) => {
            let binds = v.iter().map(|bind| {
                (
                    bind.source.as_str(),
                    bind.destination.as_str(),
                    bind.ignore_missing,
                    bind.flags(),
                )
            });
            Variant::new(binds.collect::<Vec<_>>())
        }
        PropertyValue::IpPrefixes(v) => Variant::new(
            v.iter()
                .map(|ip| (ip.family, ip.address.clone(), ip.length))
                .collect::<Vec<_>>(),
        ),
    }
}

/// Starts `true` with these properties; returns how that went.
async fn start(
    connection: &zbus::Connection,
    manager: &SystemdProxy<'_>,
    unit: &str,
    sent: &[UnitProperty],
) -> Result<(), String> {
    let exec = vec![("/bin/true", vec!["true"], false)];
    let mut all: Properties<'_> = vec![
        ("Type", Variant::new("oneshot")),
        ("RemainAfterExit", Variant::new(true)),
        ("ExecStart", Variant::new(exec)),
    ];
    all.extend(
        sent.iter()
            .map(|property| (property.name, variant(&property.value))),
    );
    let mut removed = manager.receive_job_removed().await.unwrap();
    let job = manager
        .start_transient_unit(unit, "fail", &all, &[])
        .await
        .map_err(|error| error.to_string())?;
    let end = async {
        loop {
            let signal = removed.next().await.unwrap();
            let args = signal.args().unwrap();
            if *args.job() == job {
                return args.result().clone();
            }
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(20), end)
        .await
        .map_err(|_| "no end in 20 s".to_owned())?;
    if result == "done" {
        return Ok(());
    }
    let path = manager.get_unit(unit).await.map_err(|_| result.clone())?;
    let service = zbus::Proxy::new(
        connection,
        "org.freedesktop.systemd1",
        path,
        "org.freedesktop.systemd1.Service",
    )
    .await
    .unwrap();
    let status: i32 = service.get_property("ExecMainStatus").await.unwrap_or(-1);
    let _ = manager.reset_failed_unit(unit).await;
    Err(format!("{result}, exit status {status}"))
}

/// Returns PID 1's unit file of a transient unit that is still loaded, and stops the unit.
fn understood(machine: &Machine, unit: &str) -> Vec<String> {
    let written = machine.file(format!("/run/systemd/transient/{unit}"));
    let text = fs::read_to_string(written).unwrap_or_default();
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| {
            !["Description=", "ExecStart=", "#"]
                .iter()
                .any(|own| line.starts_with(own))
        })
        .map(str::to_owned)
        .collect();
    lines.retain(|line| !line.is_empty() && !line.starts_with(['[', '"']));
    lines.sort();
    machine.run(&["systemctl", "--quiet", "stop", unit]);
    lines
}

/// Lets `systemd-run` start `true` with a property; returns what PID 1 understood, or `None` if
/// that refused it.
fn peer(
    machine: &Machine,
    unit: &str,
    property: &str,
    base: Option<&(&str, &str)>,
) -> Option<Vec<String>> {
    let mut arguments: Vec<String> = ["systemd-run", "--quiet", "--unit", unit]
        .map(str::to_owned)
        .into();
    for property in ["Type=oneshot", "RemainAfterExit=yes", property] {
        arguments.push(format!("--property={property}"));
    }
    if let Some((name, value)) = base {
        arguments.push(format!("--property={name}={value}"));
    }
    arguments.push("/bin/true".to_owned());
    let output = machine.command(&arguments).output().unwrap();
    output.status.success().then(|| understood(machine, unit))
}

fn systemd_takes_every_property_of_the_checked_set(manager: &Manager) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(every_property(manager.machine().unwrap()));
}

async fn every_property(machine: &Machine) {
    let bus = machine.file("/run/dbus/system_bus_socket");
    let address = format!("unix:path={}", bus.display());
    let connection = zbus::connection::Builder::address(address.as_str())
        .build()
        .await
        .unwrap();
    let manager = SystemdProxy::new(&connection).await.unwrap();
    manager.subscribe().await.unwrap();
    let version = manager.version().await.unwrap();
    let number: u32 = version
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let base = HashMap::from([
        ("CPUSchedulingPriority", ("CPUSchedulingPolicy", "other")),
        ("NUMAMask", ("NUMAPolicy", "bind")),
    ]);
    let mut wrong = String::new();
    let (mut count, mut compared) = (0, 0);
    for (i, known) in KNOWN.iter().enumerate() {
        for (j, example) in known.examples.iter().enumerate() {
            let mut sent = properties::parse(known.name, example).unwrap();
            let since = sent.iter().map(|property| property.since).max().unwrap();
            if let Some((name, value)) = base.get(known.name) {
                sent.extend(properties::parse(name, value).unwrap());
            }
            let unit = format!("nixactions-property-{i}-{j}.service");
            let result = start(&connection, &manager, &unit, &sent).await;
            let ours = understood(machine, &unit);
            count += 1;
            match (&result, number >= since) {
                (Ok(()), true) | (Err(_), false) => {}
                (Ok(()), false) => writeln!(
                    wrong,
                    "{}={example} works on {number}, though it is said to need {since}",
                    known.name
                )
                .unwrap(),
                (Err(error), true) => writeln!(wrong, "{}={example}: {error}", known.name).unwrap(),
            }
            let unit = format!("nixactions-peer-{i}-{j}.service");
            if let (Ok(()), Some(theirs)) = (
                result,
                peer(
                    machine,
                    &unit,
                    &format!("{}={example}", known.name),
                    base.get(known.name),
                ),
            ) {
                compared += 1;
                // Up to 257 systemd-run's `no` leaves out the time namespace, which PID 1 knows.
                let theirs_is_short = known.name == "RestrictNamespaces" && number < 258;
                if ours != theirs && !theirs_is_short {
                    writeln!(
                        wrong,
                        "{}={example}: PID 1 understood {ours:?}, of systemd-run {theirs:?}",
                        known.name
                    )
                    .unwrap();
                }
            }
        }
    }
    println!("{count} values on systemd {version}, {compared} compared with systemd-run");
    assert!(
        compared > count * 9 / 10,
        "systemd-run took only {compared} of {count}"
    );
    assert!(wrong.is_empty(), "on systemd {version}:\n{wrong}");
}
