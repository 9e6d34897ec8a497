//! Services in root file systems of their own, and beside jobs that have one: the real
//! PostgreSQL and the real Redis.

use std::path::Path;

use nixactions_harness::{Manager, Signal, bash, on_managers, or_skip, with};
use serde_json::{Value, json};

use super::{NONE, ask, job, no_service_is_left, plan, said, server};

on_managers!(the_real_postgresql_and_redis_serve_a_job on embedded, system_252, system_257, system_262);
on_managers!(a_job_in_a_root_or_container_has_services on embedded, system_252, system_257, system_262);
on_managers!(a_services_root_that_cannot_be_used_is_refused on embedded);

/// Starts PostgreSQL with an empty database.
const POSTGRES: &str = "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
    initdb --pgdata=$HOME/data --auth=trust --username=postgres --no-sync >/dev/null
    exec postgres -D $HOME/data -k /tmp -c listen_addresses=127.0.0.1 -c fsync=off";

/// Asks PostgreSQL by its own client.
const QUERY: &str = "psql --host=db --username=postgres -c 'create table t (n int); insert into t values (41)' >/dev/null
    echo sum=$(psql --host=db --username=postgres -Atc 'select n + 1 from t')";

fn postgres(root: &Path) -> Value {
    json!({
        "root": root, "run": ["bash", "-euc", POSTGRES], "ports": [5432], "properties": { "MemoryMax": "1G" },
        "health": { "run": ["bash", "-c", "/usr/lib/postgresql/*/bin/pg_isready -h 127.0.0.1"], "interval": 0.2, "retries": 500 },
    })
}

fn the_real_postgresql_and_redis_serve_a_job(manager: &Manager) {
    let root = or_skip!(manager.served());
    let redis = ["redis-server", "--save", "", "--bind", "127.0.0.1"];
    let redis = json!({ "root": root, "run": redis, "ports": [6379] });
    let services = json!({ "db": postgres(&root), "cache": redis });
    let query = format!(
        "{QUERY}; redis-cli -h cache set key 7; echo key=$(redis-cli -h 127.0.0.1 get key)"
    );
    let of = |script: &str| {
        with(
            job(script, services.clone()),
            json!({ "executor": "debian" }),
        )
    };
    let mut plan = plan(json!({ "j": of(&query), "k": of(&query) }));
    plan["executors"] =
        json!({ "debian": { "type": "systemd", "root": root, "network": "private" } });
    plan["maxParallel"] = json!(2);
    let finished = manager.run(&plan, &NONE).exits(0);
    for job in ["j", "k"] {
        assert_eq!(finished.value(job, "sum"), "42", "{finished}");
        assert_eq!(finished.value(job, "key"), "7", "{finished}");
        let lines = said(&finished, job, "db").join("\n");
        assert!(lines.contains("database system is ready"), "{finished}");
    }
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_job_in_a_root_or_container_has_services(manager: &Manager) {
    let image = or_skip!(manager.image());
    let mut plan = plan(json!({}));
    let mut expected = Vec::new();
    for (way, network, port) in [
        ("systemd", "host", 5460),
        ("systemd", "private", 5461),
        ("nspawn", "host", 5462),
        ("nspawn", "private", 5463),
    ] {
        let name = format!("{way}-{network}");
        plan["executors"][&name] = json!({ "type": way, "root": image, "network": network });
        let script = format!("{}; grep db /etc/hosts", ask("db", port));
        let services = json!({ "db": server(port, &name) });
        plan["jobs"][&name] = with(job(&script, services), json!({ "executor": name }));
        expected.push(name);
    }
    let services = json!({ "db": server(5480, "x") });
    plan["jobs"]["long"] = with(
        job("touch here; sleep 1000", services),
        json!({ "executor": "nspawn-private", "needs": expected }),
    );
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("long", "here");
    run.signal_client(Signal::SIGINT);
    let finished = run.end().exits(130);
    for name in &expected {
        assert_eq!(finished.verdict(name), "success/success", "{finished}");
        assert_eq!(finished.value(name, "answer"), name, "{finished}");
    }
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_services_root_that_cannot_be_used_is_refused(manager: &Manager) {
    for (service, reason) in [
        (
            json!({ "root": "/srv/nowhere", "run": ["x"] }),
            "service `db` of job `j`: `/srv/nowhere`",
        ),
        (
            json!({ "image": { "oci": "/srv/nowhere.tar" } }),
            "service `db` of job `j`",
        ),
    ] {
        let job = with(bash("true"), json!({ "services": { "db": service } }));
        let plan = manager.plan(&plan(json!({ "j": job })));
        let (code, told) = manager.refused(&["run", &plan.display().to_string()]);
        assert!(code != 0 && told.contains(reason), "{code}: {told}");
        assert_eq!(manager.runs(), [""; 0], "nothing has started");
    }
}
