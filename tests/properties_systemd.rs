//! Every property of the checked set, started on the systemd of this machine: what the plan accepts, systemd must accept.
//!
//! Ignored by default: it starts units on the system bus, so it belongs into a machine or namespace of its own, as root.
//! `cargo test --test properties_systemd -- --ignored`. With `NIXACTIONS_PROPERTIES=<file>` it also writes there what it sent.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use futures_util::StreamExt as _;
use nixactions::plan::properties::{self, KNOWN, PropertyValue, UnitProperty};
use zbus::zvariant::{OwnedObjectPath, Value};

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    gen_blocking = false
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    #[allow(clippy::type_complexity, reason = "the signature of the call")]
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Value<'_>)],
        aux: &[(&str, Vec<(&str, Value<'_>)>)],
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
}

fn value(value: &PropertyValue) -> Value<'_> {
    match value {
        PropertyValue::Bool(v) => (*v).into(),
        PropertyValue::I32(v) => (*v).into(),
        PropertyValue::U32(v) => (*v).into(),
        PropertyValue::U64(v) => (*v).into(),
        PropertyValue::Str(v) => v.as_str().into(),
        PropertyValue::StrList(v) => v.iter().map(String::as_str).collect::<Vec<_>>().into(),
        PropertyValue::Bytes(v) => v.clone().into(),
        PropertyValue::Filter(allow, v) => (*allow, v.iter().map(String::as_str).collect::<Vec<_>>()).into(),
        PropertyValue::StrPairs(v) => v.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>().into(),
        PropertyValue::StrU64Pairs(v) => v.iter().map(|(a, b)| (a.as_str(), *b)).collect::<Vec<_>>().into(),
        PropertyValue::BindMounts(v) => {
            v.iter().map(|bind| (bind.source.as_str(), bind.destination.as_str(), bind.ignore_missing, bind.flags())).collect::<Vec<_>>().into()
        }
        PropertyValue::IpPrefixes(v) => v.iter().map(|ip| (ip.family, ip.address.clone(), ip.length)).collect::<Vec<_>>().into(),
    }
}

/// Starts `true` with these properties; returns how that went.
async fn start(connection: &zbus::Connection, manager: &ManagerProxy<'_>, unit: &str, sent: &[UnitProperty]) -> Result<(), String> {
    let exec = vec![("/bin/true", vec!["true"], false)];
    let mut all: Vec<(&str, Value<'_>)> = vec![("Type", "oneshot".into()), ("ExecStart", exec.into())];
    all.extend(sent.iter().map(|property| (property.name.as_str(), value(&property.value))));
    let mut removed = manager.receive_job_removed().await.unwrap();
    let job = manager.start_transient_unit(unit, "fail", &all, &[]).await.map_err(|error| error.to_string())?;
    let end = async {
        loop {
            let signal = removed.next().await.unwrap();
            let args = signal.args().unwrap();
            if *args.job() == job {
                return args.result().clone();
            }
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(20), end).await.map_err(|_| "no end in 20 s".to_owned())?;
    if result == "done" {
        return Ok(());
    }
    let path = manager.get_unit(unit).await.map_err(|_| result.clone())?;
    let service = zbus::Proxy::new(connection, "org.freedesktop.systemd1", path, "org.freedesktop.systemd1.Service").await.unwrap();
    let status: i32 = service.get_property("ExecMainStatus").await.unwrap_or(-1);
    let _ = manager.reset_failed_unit(unit).await;
    Err(format!("{result}, exit status {status}"))
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "starts units on the system bus; needs root and a systemd of its own"]
async fn systemd_takes_every_property_of_the_checked_set() {
    let connection = zbus::Connection::system().await.unwrap();
    let manager = ManagerProxy::new(&connection).await.unwrap();
    manager.subscribe().await.unwrap();
    let version = manager.version().await.unwrap();
    let number: u32 = version.trim_start_matches(|c: char| !c.is_ascii_digit()).split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    let base = HashMap::from([("CPUSchedulingPriority", ("CPUSchedulingPolicy", "other")), ("NUMAMask", ("NUMAPolicy", "bind"))]);
    let mut wrong = String::new();
    let mut log = String::new();
    let mut count = 0;
    for (i, known) in KNOWN.iter().enumerate() {
        for (j, example) in known.examples.iter().enumerate() {
            let mut sent = properties::parse(known.name, example).unwrap();
            writeln!(log, "{}\t{example}\t{sent:?}", known.name).unwrap();
            let since = sent.iter().map(|property| property.since).max().unwrap();
            if let Some((name, value)) = base.get(known.name) {
                sent.extend(properties::parse(name, value).unwrap());
            }
            let result = start(&connection, &manager, &format!("nixactions-property-{i}-{j}.service"), &sent).await;
            count += 1;
            match (result, number >= since) {
                (Ok(()), true) | (Err(_), false) => {}
                (Ok(()), false) => writeln!(wrong, "{}={example} works on {number}, though it is said to need {since}", known.name).unwrap(),
                (Err(error), true) => writeln!(wrong, "{}={example}: {error}", known.name).unwrap(),
            }
        }
    }
    if let Some(file) = std::env::var_os("NIXACTIONS_PROPERTIES") {
        std::fs::write(file, log).unwrap();
    }
    println!("{count} values on systemd {version}");
    assert!(wrong.is_empty(), "on systemd {version}:\n{wrong}");
}
