//! The start of services: steps wait for them, and reach them by name.

use nixactions_harness::{CommandExt as _, Manager, SOON, bash, on_managers, wait_for, with};
use serde_json::json;

use super::{NONE, ask, job, make_hosts_file, no_service_is_left, plan, private, said, server};

on_managers!(steps_reach_a_service_by_its_name_and_at_localhost);
on_managers!(a_name_service_cache_hides_no_service on system_252, system_257, system_262);
on_managers!(starting_services_runs_no_need_again on system_252, system_257, system_262);
on_managers!(two_jobs_with_own_networks_may_have_the_same_port on embedded, system_252, system_257, system_262);
on_managers!(a_service_may_tell_more_after_it_is_ready on embedded, system_252, system_262, user_262);
on_managers!(the_last_lines_of_a_service_are_shown on embedded, system_252, system_257, system_262, user_262);
on_managers!(jobs_take_turns_at_a_port_of_the_host on embedded, system_252, system_262, user_262);

fn steps_reach_a_service_by_its_name_and_at_localhost(manager: &Manager) {
    make_hosts_file(manager);
    let script = format!(
        "{}; {}; grep -c db /etc/hosts; echo of=$(id -u)",
        ask("db", 5433),
        ask("127.0.0.1", 5433)
    );
    let services = json!({ "db": server(5433, "it is me") });
    let plan = plan(json!({ "j": job(&script, services) }));
    let finished = manager.run(&plan, &NONE).exits(0);
    let answers = finished.lines("j");
    let answers = answers.iter().filter(|line| **line == "answer=it is me");
    assert_eq!(answers.count(), 2, "{finished}");
    assert_eq!(said(&finished, "j", "db"), ["listening"], "{finished}");
    let record = &finished.job("j")["services"]["db"];
    assert!(record["readyAt"].is_string(), "{finished}");
    assert!(record["reason"].is_null(), "{finished}");
    let unit = record["unit"].as_str().unwrap_or_default();
    assert!(unit.ends_with("-j:db.service"), "{unit}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

/// A name service cache (nscd(8)), which NixOS has: the C library asks it before it reads a file.
/// It says that there is no such host.
const NAME_CACHE: &str = r#"
    my $server = IO::Socket::UNIX->new(Local => "/run/nscd/socket", Listen => 9) or die "cannot listen: $!\n";
    chmod 0666, "/run/nscd/socket";
    while (my $client = $server->accept) {
        read $client, my $header, 12;
        my (undef, $request, $length) = unpack "l3", $header;
        read $client, my $key, $length;
        print $client pack "l6", 2, 0, 0, 0, 0, 1 if $request == 14;
        close $client;
    }
"#;

fn a_name_service_cache_hides_no_service(manager: &Manager) {
    make_hosts_file(manager);
    let unit = ["systemd-run", "--property=RuntimeDirectory=nscd"];
    let cache = ["perl", "-MIO::Socket::UNIX", "-e", NAME_CACHE];
    manager.command(&[&unit[..], &cache[..]].concat()).ok();
    wait_for(SOON, "the cache", || {
        let mut answers = manager.command(&["getent", "ahosts", "localhost"]);
        (!answers.output_within(SOON).status.success()).then_some(())
    });
    let reach = "exec 3<>/dev/tcp/other/5456 4<>/dev/tcp/db/5455";
    let health = json!({ "run": ["bash", "-c", reach] });
    let db = with(server(5455, "it is me"), json!({ "health": health }));
    let services = json!({ "db": db, "other": server(5456, "x") });
    let of = job(&ask("db", 5455), services);
    let unsandboxed = json!({ "executor": "bare", "needs": ["own"] });
    let mut plan = plan(json!({ "own": private(of.clone()), "bare": with(of, unsandboxed) }));
    plan["executors"] = json!({ "bare": { "type": "systemd", "sandbox": "none" } });
    let finished = manager.run(&plan, &NONE).exits(0);
    for job in ["own", "bare"] {
        assert_eq!(finished.value(job, "answer"), "it is me", "{finished}");
    }
    no_service_is_left(manager);
}

fn starting_services_runs_no_need_again(manager: &Manager) {
    let need = with(
        bash("date +%N >>$HOME/times; wc -l <$HOME/times"),
        json!({}),
    );
    let of = job("touch here; sleep 1", json!({ "db": server(5449, "x") }));
    let plan = plan(json!({
        "need": need, "j": with(of, json!({ "needs": ["need"] })),
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    }));
    let finished = manager.run(&plan, &NONE).exits(0);
    for job in ["need", "j", "after"] {
        assert_eq!(finished.verdict(job), "success/success", "{finished}");
    }
    let journal = manager
        .journal(&["--unit", "nixactions-served-1-need.service"])
        .ok();
    assert!(!journal.contains("was started before"), "{journal}");
    no_service_is_left(manager);
}

fn two_jobs_with_own_networks_may_have_the_same_port(manager: &Manager) {
    make_hosts_file(manager);
    let script = |own: &str| {
        format!(
            "touch here; {}; sleep 2; {}; [ \"$answer\" = {own} ]",
            ask("db", 5434),
            ask("db", 5434)
        )
    };
    let of = |own: &str| private(job(&script(own), json!({ "db": server(5434, own) })));
    let mut plan = plan(json!({ "a": of("a"), "b": of("b") }));
    plan["maxParallel"] = json!(2);
    let finished = manager.run(&plan, &NONE).exits(0);
    for own in ["a", "b"] {
        let answer = format!("answer={own}");
        let lines = finished.lines(own);
        assert_eq!(
            lines.iter().filter(|line| **line == answer).count(),
            2,
            "{finished}"
        );
    }
    no_service_is_left(manager);
}

fn a_service_may_tell_more_after_it_is_ready(manager: &Manager) {
    let tell = "systemd-notify --ready; systemd-notify --status=up; exec \"$@\"";
    let mut service = server(5436, "x");
    let mut run = json!(["bash", "-ec", tell, "bash"]);
    let [all, more] = [&mut run, &mut service["run"]].map(|list| list.as_array_mut());
    all.expect("a list").append(more.expect("a list"));
    service["run"] = run;
    service["health"] = json!({ "notify": true });
    let script = "until (exec 3<>/dev/tcp/127.0.0.1/5436) 2>/dev/null; do sleep 0.05; done";
    let of = with(
        job(script, json!({ "db": service })),
        json!({ "timeout": 20 }),
    );
    let finished = manager.run(&plan(json!({ "j": of })), &NONE).exits(0);
    let record = &finished.job("j")["services"]["db"];
    assert!(record["reason"].is_null(), "{finished}");
    no_service_is_left(manager);
}

fn the_last_lines_of_a_service_are_shown(manager: &Manager) {
    let count = "for n in {1..300}; do echo line $n; done; systemd-notify --ready; exec sleep 99";
    let service = json!({ "run": ["bash", "-c", count], "health": { "notify": true } });
    let plan = plan(json!({ "j": job("true", json!({ "counts": service })) }));
    for _ in 0..3 {
        let finished = manager.run(&plan, &NONE).exits(0);
        let lines = said(&finished, "j", "counts");
        let expected: Vec<_> = (1..=300).map(|n| format!("line {n}")).collect();
        assert_eq!(lines, expected, "{finished}");
    }
}

fn jobs_take_turns_at_a_port_of_the_host(manager: &Manager) {
    make_hosts_file(manager);
    let script = |own: &str| format!("{}; sleep 1; [ \"$answer\" = {own} ]", ask("db", 5435));
    let of = |own: &str| job(&script(own), json!({ "db": server(5435, own) }));
    let mut plan = plan(json!({ "a": of("a"), "b": of("b"), "c": of("c") }));
    plan["maxParallel"] = json!(3);
    let finished = manager.run(&plan, &NONE).exits(0);
    for own in ["a", "b", "c"] {
        assert_eq!(finished.value(own, "answer"), own, "{finished}");
    }
    no_service_is_left(manager);
}
