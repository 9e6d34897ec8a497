//! Services of images whose programs begin as root and become other users: the real PostgreSQL as
//! Docker's image has it, and attacks by such a root.

use nixactions_harness::{Manager, on_managers, or_skip, with};
use serde_json::{Value, json};

use super::{NONE, image::image, job, make_hosts_file, no_service_is_left, plan, said};

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
        "health": { "run": ["pg_isready", "--host=127.0.0.1"], "interval": 0.2, "timeout": 5, "retries": 300 },
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
    let own = json!({ "image": { "oci": image }, "run": ["sh", "-c", "echo of-image=$FROM_IMAGE user=$(id -u) host=$(hostname); exec sleep 100"] });
    let plan = plan(json!({ "j": job("sleep 1", json!({ "db": own })) }));
    let finished = manager.run(&plan, &NONE).exits(0);
    let expected = ["of-image=yes user=0 host=db"];
    assert_eq!(said(&finished, "j", "db"), expected, "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}
