//! Secrets of jobs in the lines of their services.

use nixactions_harness::{
    CommandExt as _, Finished, Manager, SOON, on_managers, or_skip, wait_for, with,
};
use serde_json::{Value, json};

use super::{NONE, job, no_service_is_left, plan, said};

on_managers!(a_service_shows_no_secret_of_its_job on embedded, system_252, system_257, system_262, user_262);
on_managers!(a_service_in_a_root_shows_no_secret_of_its_job on embedded, system_252, system_257, system_262);
on_managers!(a_service_shows_no_secret_after_its_jobs_runner_was_killed on system_252, system_257, system_262);
on_managers!(the_reason_of_a_service_shows_no_secret on embedded, system_252, system_262, user_262);

/// A program that shows each line that it gets, and answers when it has.
const ECHO: &str = r#"
    $| = 1;
    my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 9, ReuseAddr => 1) or die "cannot listen: $!\n";
    while (my $client = $server->accept) {
        while (my $line = <$client>) { print "shown: $line"; $client->autoflush; print $client "ok\n" }
    }
"#;

/// A function that sends a text to the service.
fn tell(port: u16) -> String {
    format!(
        "tell() {{ exec 3<>/dev/tcp/127.0.0.1/{port}; echo \"$1\" >&3; read -r answer <&3; exec 3<&-; }}; "
    )
}

/// Returns a service that shows the lines that it gets.
pub(super) fn echo(port: u16) -> Value {
    let port_text = port.to_string();
    json!({ "run": ["perl", "-MIO::Socket::INET", "-e", ECHO, "--", port_text], "ports": [port] })
}

/// Returns a job that sends all kinds of secrets to its service.
pub(super) fn telling(port: u16, service: Value) -> Value {
    let tell = tell(port);
    let script = format!(
        "{tell}tell \"variable $GIVEN\"; tell \"provided $PROVIDED\"; tell \"encoded $(printf %s \"$GIVEN\" | base64)\"
        echo '::add-mask::sesame-open'"
    );
    let provider = "echo export PROVIDED=quince-tart";
    let of = with(
        job(&script, json!({ "db": service })),
        json!({ "envFrom": [["sh", "-c", provider]] }),
    );
    then(of, &format!("{tell}tell 'named sesame-open'; tell plain"))
}

/// Returns a job with one more step. A step begins after the services hide what the step before has
/// named.
fn then(mut job: Value, script: &str) -> Value {
    let steps = job["steps"].as_array_mut().expect("a job has steps");
    steps.push(json!({ "name": "then", "bash": script }));
    job
}

/// Runs a plan with a secret variable.
pub(super) fn run(manager: &Manager, plan: &Value) -> Finished {
    let secrets = manager.write("secrets", "GIVEN=hunter2-alpha\n");
    let secrets = secrets.display().to_string();
    manager.run(plan, &["--secret-env-file", &secrets])
}

/// Returns the lines that the service of a job has shown, without systemd's own lines on its unit.
pub(super) fn shown<'a>(finished: &'a Finished, job: &str) -> Vec<&'a str> {
    let lines = said(finished, job, "db").into_iter();
    lines.filter(|line| line.starts_with("shown: ")).collect()
}

/// The lines of such a service.
pub(super) const EXPECTED: [&str; 5] = [
    "shown: variable ***",
    "shown: provided ***",
    "shown: encoded ***Q==",
    "shown: named ***",
    "shown: plain",
];

/// Panics if the journal holds a secret.
fn journal_has_no_secret(manager: &Manager, finished: &Finished) {
    let filter = format!("NIXACTIONS_RUN={}", finished.id);
    let text = wait_for(SOON, "the last line in the journal", || {
        let text = manager.journal(&["--output=export", "--all", &filter]).ok();
        text.contains("shown: plain").then_some(text)
    });
    for secret in ["hunter2-alpha", "quince-tart"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn a_service_shows_no_secret_of_its_job(manager: &Manager) {
    let jobs = json!({ "j": telling(5500, echo(5500)) });
    let finished = run(manager, &plan(jobs)).exits(0);
    assert_eq!(shown(&finished, "j"), EXPECTED, "{finished}");
    journal_has_no_secret(manager, &finished);
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_service_in_a_root_shows_no_secret_of_its_job(manager: &Manager) {
    let root = or_skip!(manager.image());
    let service = with(echo(5501), json!({ "root": root }));
    let jobs = ["systemd", "nspawn"].map(|way| {
        let of = with(telling(5501, service.clone()), json!({ "executor": way }));
        (way.to_owned(), of)
    });
    let mut plan = plan(json!(serde_json::Map::from_iter(jobs)));
    for way in ["systemd", "nspawn"] {
        plan["executors"][way] = json!({ "type": way, "root": root, "network": "private" });
    }
    let finished = run(manager, &plan).exits(0);
    for job in ["systemd", "nspawn"] {
        assert_eq!(shown(&finished, job), EXPECTED, "{finished}");
    }
    journal_has_no_secret(manager, &finished);
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_service_shows_no_secret_after_its_jobs_runner_was_killed(manager: &Manager) {
    let script = "[ $NIXACTIONS_ATTEMPT = 2 ] || { touch here; sleep 1000; }; echo '::add-mask::sesame-open'";
    let of = with(
        job(script, json!({ "db": echo(5502) })),
        json!({ "retry": { "maxAttempts": 2, "minTime": 0 } }),
    );
    let of = then(of, &format!("{}tell 'named sesame-open'", tell(5502)));
    let run = manager.start(&plan(json!({ "j": of })), &NONE);
    run.wait_for_file("j", "here");
    assert!(run.kill_runner("j"));
    let finished = run.end().exits(0);
    assert_eq!(shown(&finished, "j"), ["shown: named ***"], "{finished}");
    no_service_is_left(manager);
}

fn the_reason_of_a_service_shows_no_secret(manager: &Manager) {
    let health = json!({ "run": ["sh", "-c", "echo no hunter2-alpha; exit 3"], "interval": 0.1, "retries": 2 });
    let never = json!({ "run": ["sh", "-c", "echo with hunter2-alpha; exec sleep 1000"], "health": health });
    let finished = run(
        manager,
        &plan(json!({ "j": job("true", json!({ "db": never })) })),
    )
    .exits(1);
    let reason = finished.reason("j");
    assert!(reason.contains("no ***"), "{finished}");
    assert!(reason.contains("its last lines: with ***"), "{finished}");
    let events = manager
        .run_dir(&finished.id)
        .join("services/j/db/out/events.jsonl");
    let events = std::fs::read_to_string(events).expect("the service has told");
    assert!(!events.contains("hunter2-alpha"), "{events}");
    assert_eq!(said(&finished, "j", "db")[0], "with ***", "{finished}");
    no_service_is_left(manager);
}
