//! Services of images whose programs begin as root and become other users: the real PostgreSQL as
//! Docker's image has it, and attacks by such a root.

use nixactions_harness::{
    CommandExt as _, Kind, Manager, SOON, on_managers, or_skip, wait_for, with,
};
use serde_json::{Value, json};

use super::{NONE, image::image, job, make_hosts_file, no_service_is_left, plan, said, secrets};

on_managers!(the_real_postgresql_serves_as_dockers_image_has_it on embedded, system_252, system_257, system_262);

/// Adds the files of Docker's image of PostgreSQL. The directory for sockets belongs to its user.
fn files_of_postgres() -> String {
    let script = include_str!("postgres.sh");
    format!(
        "mkdir -p usr/local/bin srv run/postgresql; cat >usr/local/bin/docker-entrypoint.sh <<'END'\n{script}END
        chmod 755 usr/local/bin/*; chown -R 0:0 .; touch srv/owned; chown 1234:60000 srv/owned; chmod 640 srv/owned
        chown 101:103 run/postgresql; chmod 3777 run/postgresql"
    )
}

fn postgres(image: &str) -> Value {
    json!({
        "image": { "oci": image }, "env": { "POSTGRES_PASSWORD": "x" }, "ports": [5432],
        "health": { "run": ["pg_isready", "--host=127.0.0.1"], "interval": 0.2, "timeout": 5, "retries": 500 },
    })
}

fn the_real_postgresql_serves_as_dockers_image_has_it(manager: &Manager) {
    let root = or_skip!(manager.served()).display().to_string();
    make_hosts_file(manager);
    let config = json!({
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/lib/postgresql/15/bin", "PGDATA=/var/lib/postgresql/data", "FROM_IMAGE=yes"],
        "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres", "-c", "fsync=off"], "Volumes": { "/var/lib/postgresql/data": {} },
    });
    let image = image(manager, &root, &files_of_postgres(), &config);
    let query = "export PGPASSWORD=x; psql --host=db --username=postgres -Atc 'insert into t values (1)' >/dev/null
        echo sum=$(psql --host=db --username=postgres -Atc 'select sum(n) from t')
        ! PGPASSWORD=wrong psql --host=db --username=postgres -c 'select 1' 2>/dev/null";
    let of = || {
        with(
            job(query, json!({ "db": postgres(&image) })),
            json!({ "executor": "debian" }),
        )
    };
    let mut two = plan(json!({ "j": of(), "k": of() }));
    two["executors"] =
        json!({ "debian": { "type": "systemd", "root": root, "network": "private" } });
    two["maxParallel"] = json!(2);
    let finished = manager.run(&two, &NONE).exits(0);
    let mut firsts = Vec::new();
    for job in ["j", "k"] {
        assert_eq!(finished.value(job, "sum"), "42", "{finished}");
        let lines = said(&finished, job, "db");
        let told: Vec<_> = lines[0].split_whitespace().collect();
        let expected = ["65536", "owned=1234:60000:640", "run=postgres:3777"];
        assert_eq!(told[2..], expected, "{finished}");
        assert_eq!(told[0], "map=0", "{finished}");
        firsts.push(told[1].parse::<u32>().expect("it is an id"));
        let became = "user=postgres:postgres data=postgres:700";
        let all = lines.join("\n");
        assert!(
            all.contains(became) && all.contains("database system is ready"),
            "{finished}"
        );
    }
    assert!(firsts[0] != firsts[1], "each has its own ids: {firsts:?}");
    let are_ranges = |first: &u32| (0x6000_0000..0x7000_0000).contains(first);
    assert!(firsts.iter().all(are_ranges), "{firsts:?}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
    // A command of the plan's own takes the place of the image's.
    let script = "echo of-image=$FROM_IMAGE user=$(id -u) host=$(hostname); exec \"$@\"";
    let mut own = secrets::echo(5432);
    let begin = ["sh", "-c", script, "sh"].map(Value::from);
    let run = own["run"].as_array_mut().expect("it has a command");
    run.splice(0..0, begin);
    own["image"] = json!({ "oci": image });
    let sends = plan(json!({ "j": secrets::telling(5432, own) }));
    let finished = secrets::run(manager, &sends).exits(0);
    let first = said(&finished, "j", "db")[0];
    assert_eq!(first, "of-image=yes user=0 host=db", "{finished}");
    let shown = secrets::shown(&finished, "j");
    assert_eq!(shown, secrets::EXPECTED, "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
    if manager.kind() != Kind::Embedded {
        a_killed_container_is_told(manager, &image);
    }
}

/// The program of a service is killed, and so are all processes of its container.
fn a_killed_container_is_told(manager: &Manager, image: &str) {
    for (whom, told) in [
        ("program", "killed by SIGKILL"),
        ("main", "its processes were killed"),
        ("all", "its processes were killed"),
    ] {
        let own = json!({ "image": { "oci": image }, "run": ["sleep", "98766"] });
        let script = "touch here; while [ ! -e go ]; do sleep 0.1; done";
        let run = manager.start(
            &plan(json!({ "j": job(script, json!({ "db": own })) })),
            &NONE,
        );
        run.wait_for_file("j", "here");
        let unit = format!("nixactions-{}-j:db.service", run.id());
        if whom == "program" {
            let kill = "until pkill -KILL -f 'sleep 98766$'; do sleep 0.1; done";
            manager.command(&["sh", "-c", kill]).ok();
        } else {
            let whom = format!("--kill-whom={whom}");
            manager
                .systemctl(&["kill", &whom, "--signal=KILL", &unit])
                .ok();
        }
        wait_for(SOON, "the end of the service", || {
            let active = manager.systemctl(&["is-active", &unit]).output_within(SOON);
            (!active.status.success()).then_some(())
        });
        run.release("j", "go");
        let finished = run.end().exits(0);
        let reason = &finished.job("j")["services"]["db"]["reason"];
        assert_eq!(reason, told, "{whom}: {finished}");
        no_service_is_left(manager);
        finished.leaves_nothing(manager);
    }
}
