//! Services in root file systems of their own, of images, and beside jobs that have one: the real
//! PostgreSQL and the real Redis.

use std::{path::Path, time::Duration};

use nixactions_harness::{CommandExt as _, Manager, Signal, bash, on_managers, or_skip, with};
use serde_json::{Value, json};

use super::{NONE, ask, job, make_hosts_file, no_service_is_left, plan, private, said, server};

on_managers!(the_real_postgresql_and_redis_serve_a_job on embedded, system_252, system_257, system_262);
on_managers!(the_real_postgresql_serves_as_an_image on embedded, system_262);
on_managers!(a_job_in_a_root_or_container_has_services on embedded, system_252, system_257, system_262);
on_managers!(a_services_root_that_cannot_be_used_is_refused on embedded);

/// Starts PostgreSQL with an empty database.
const POSTGRES: &str = "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
    initdb --pgdata=$HOME/data --auth=trust --username=postgres --no-sync >/dev/null
    exec postgres -D $HOME/data -k /tmp -c listen_addresses=127.0.0.1 -c fsync=off";

/// Asks PostgreSQL by its own client.
const QUERY: &str = "psql --host=db --username=postgres -c 'create table t (n int); insert into t values (41)' >/dev/null
    echo sum=$(psql --host=db --username=postgres -Atc 'select n + 1 from t')";

/// A client of PostgreSQL in bash: a request for encryption, which a server without it refuses.
const GREET: &str = r"exec 3<>/dev/tcp/db/5432; printf '\0\0\0\10\4\322\26\57' >&3
    read -r -n 1 answer <&3; [ $answer = N ]; echo it listens";

fn postgres(root: &Path) -> Value {
    json!({
        "root": root, "run": ["bash", "-euc", POSTGRES], "ports": [5432], "properties": { "MemoryMax": "1G" },
        "health": { "run": ["bash", "-c", "/usr/lib/postgresql/*/bin/pg_isready -h 127.0.0.1"], "interval": 0.2, "retries": 300 },
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

/// Makes an OCI layout of a root file system: `$1` from `$2`, for the architecture `$3`, with the
/// command `$4`.
const LAYOUT: &str = "blobs=$1/blobs/sha256; mkdir -p $blobs; cd ${1:?}; tar --numeric-owner -C $2 --exclude='libLLVM*' --exclude=./var/cache --exclude=./var/lib/apt --exclude=./usr/share/zoneinfo -cf layer .
    plain=$(sha256sum <layer | cut -d' ' -f1)
    put() { hex=$(sha256sum <$1 | cut -d' ' -f1); size=$(stat -c %s $1); mv $1 $blobs/$hex; }
    put layer; layer=\"\\\"digest\\\":\\\"sha256:$hex\\\",\\\"size\\\":$size\"
    cat >config <<EOF
{\"architecture\":\"$3\",\"os\":\"linux\",\"config\":{\"Env\":[\"FROM_IMAGE=yes\"],\"Entrypoint\":$4},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$plain\"]}}
EOF
    put config; config=\"\\\"digest\\\":\\\"sha256:$hex\\\",\\\"size\\\":$size\"
    cat >manifest <<EOF
{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",$config},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",$layer}]}
EOF
    put manifest
    cat >index.json <<EOF
{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$hex\",\"size\":$size}]}
EOF
    echo '{\"imageLayoutVersion\":\"1.0.0\"}' >oci-layout";

fn the_real_postgresql_serves_as_an_image(manager: &Manager) {
    let root = or_skip!(manager.served());
    make_hosts_file(manager);
    if manager.machine().is_some() {
        // An overlay, as the root of a machine, cannot be mapped to other users.
        let state = manager.state_dir().display().to_string();
        let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
        manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    }
    let image = manager.dir().join("postgres").display().to_string();
    let script = format!("set -eu; {LAYOUT}");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let command = json!(["bash", "-euc", POSTGRES]).to_string();
    let root = root.display().to_string();
    let argv = [
        "bash",
        "-c",
        &script,
        "layout",
        &image,
        &root,
        architecture,
        &command,
    ];
    let made = manager
        .command(&argv)
        .output_within(Duration::from_secs(300));
    let said_by = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said_by}");
    // Unpacking takes longer than the start of a run may.
    let mut pull = manager.nixactions(&["image", "pull", &image]);
    let pulled = pull.output_within(Duration::from_secs(300));
    let told = String::from_utf8_lossy(&pulled.stderr);
    assert!(pulled.status.success(), "{told}");
    let service = json!({ "image": { "oci": image }, "ports": [5432] });
    let of = private(job(GREET, json!({ "db": service })));
    let finished = manager.run(&plan(json!({ "j": of })), &NONE).exits(0);
    assert!(finished.lines("j").contains(&"it listens"), "{finished}");
    // A command of the plan's own takes the place of the image's.
    let own = json!({ "image": { "oci": image }, "run": ["sh", "-c", "echo of-image=$FROM_IMAGE; exec sleep 100"] });
    let plan = plan(json!({ "j": job("sleep 1", json!({ "db": own })) }));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(said(&finished, "j", "db"), ["of-image=yes"], "{finished}");
    no_service_is_left(manager);
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
