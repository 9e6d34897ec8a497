//! Services of jobs: their start, their names and ports, their lines, and their end.

mod ends;
mod faults;
mod image;
mod ready;
mod roots;
mod secrets;
mod users;

use nixactions_harness::{CommandExt as _, Finished, Kind, Manager, SOON, bash, wait_for, with};
use serde_json::{Value, json};

const NONE: [&str; 0] = [];

/// A program that listens on the port of its first argument and answers with the second.
const SERVER: &str = r#"
    my ($port, $answer, $file) = @ARGV;
    $| = 1;
    my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 9, ReuseAddr => 1) or die "cannot listen: $!\n";
    print "listening\n";
    while (my $client = $server->accept) { print $client "$answer\n"; close $client }
"#;

/// Returns a service that answers on a port.
fn server(port: u16, answer: &str) -> Value {
    let run = ["perl", "-MIO::Socket::INET", "-e", SERVER, "--"];
    let port_text = port.to_string();
    let run: Vec<&str> = run
        .into_iter()
        .chain([port_text.as_str(), answer])
        .collect();
    json!({ "run": run, "ports": [port] })
}

/// Returns the script that prints what a host answers on a port.
fn ask(host: &str, port: u16) -> String {
    format!(
        "exec 3<>/dev/tcp/{host}/{port}; read -r answer <&3; echo \"answer=$answer\"; exec 3<&-"
    )
}

/// Gives the machine a file of hosts, as most machines have.
fn make_hosts_file(manager: &Manager) {
    if let Some(machine) = manager.machine() {
        let write = "[ -e /etc/hosts ] || echo 127.0.0.1 localhost >/etc/hosts";
        machine.command(&["sh", "-c", write]).ok();
    }
}

/// Returns a plan of these jobs.
fn plan(jobs: Value) -> Value {
    json!({ "version": 1, "name": "served", "jobs": jobs })
}

/// Gives a job a network of its own.
fn private(job: Value) -> Value {
    with(job, json!({ "properties": { "PrivateNetwork": "yes" } }))
}

/// Returns the lines of a service, as the client showed them.
fn said<'a>(finished: &'a Finished, job: &str, service: &str) -> Vec<&'a str> {
    let events = finished.events.iter().map(|event| &event["event"]);
    events
        .filter(|event| event["type"] == "log" && event["job"] == job)
        .filter(|event| event["service"] == service)
        .filter_map(|event| event["message"].as_str())
        .collect()
}

/// Panics unless all units of services are gone.
fn no_service_is_left(manager: &Manager) {
    wait_for(SOON, "the services to be gone", || {
        // An embedded manager ends with its run.
        let is_gone = manager.kind() == Kind::Embedded && manager.private_managers().is_empty();
        let is_clear = || manager.units("nixactions-served-*:*").is_empty();
        (is_gone || is_clear()).then_some(())
    });
}

/// Returns a job of this script with these services.
fn job(script: &str, services: Value) -> Value {
    with(bash(script), json!({ "services": services }))
}
