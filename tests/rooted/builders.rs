//! Builds an image with buildah in a container, and uses it in the next job. Builds one without
//! `RUN` as an ordinary user.

use std::path::Path;

use nixactions_harness::{Kind, Machine, Manager, Root, Skip, Suite, bash, or_skip, with};
use serde_json::{Value, json};

use super::{NONE, nothing_is_left, plan};

/// The directory of a machine with the programs of this computer: the roots have no buildah.
const HOST: &str = "/srv/host";

/// Builds an image whose only program is bash. `RUN` starts it.
const BUILD: &str = r#"mkdir root; cp --parents /bin/bash $(ldd /bin/bash | grep -o '/[^ ]*') root
    printf 'FROM scratch\nCOPY root /\nRUN ["/bin/bash", "-c", "echo built by $UID >/made"]\n' >Containerfile
    buildah --storage-driver vfs build --isolation chroot --tag app .
    buildah --storage-driver vfs push app oci-archive:app.tar"#;
const USE: &str = r#"app=$(buildah --storage-driver vfs from oci-archive:app.tar)
    buildah --storage-driver vfs run --isolation chroot $app /bin/bash -c 'read -r line </made; echo "made=$line"'"#;

/// Builds an image without starting a program in it. For that, buildah would set groups
/// (setgroups(2)), which no user namespace of an ordinary user may.
const COPY: &str = r#"export _CONTAINERS_USERNS_CONFIGURED=done
    echo content >file; printf 'FROM scratch\nCOPY file /\n' >Containerfile
    unshare -Urm buildah --storage-driver vfs build --isolation chroot --tag app .
    unshare -Urm buildah --storage-driver vfs push app oci-archive:app.tar
    tar -xOf app.tar index.json | grep -o '"manifests"'"#;

/// The directories with buildah and its settings.
const BUILDAH: [&str; 3] = ["/usr", "/etc/alternatives", "/etc/containers"];

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_nixactions"))
}

/// Returns an executor's directories with buildah, which lie below `host`.
fn binds(host: &str) -> Result<Value, Skip> {
    if !Path::new("/usr/bin/buildah").exists() {
        return Err(Skip::new("the program buildah"));
    }
    let bind =
        |path| json!({ "source": format!("{host}{path}"), "target": path, "readOnly": true });
    Ok(json!({ "bind": BUILDAH.map(bind) }))
}

/// Makes a manager in a machine that has the programs of this computer as well.
fn in_machine(kind: Kind, suite: Suite) -> Result<Manager, Skip> {
    let root = Root::get(suite)?;
    let mut plan = Machine::of(&root).bind_read_only(root.path(), "/srv/image");
    for path in BUILDAH {
        plan = plan.bind_read_only(Path::new(path), &format!("{HOST}{path}"));
    }
    let machine = if kind == Kind::Embedded {
        plan.enter()
    } else {
        plan.boot()
    };
    Manager::of(kind, machine, program())
}

mod an_image_is_built_and_used_in_one_workflow {
    use super::*;

    #[test]
    fn embedded() {
        builds(&or_skip!(Manager::embedded(program())), "");
    }

    #[test]
    fn embedded_262() {
        builds(&or_skip!(in_machine(Kind::Embedded, Suite::Forky)), HOST);
    }

    #[test]
    fn system_252() {
        builds(&or_skip!(in_machine(Kind::System, Suite::Bookworm)), HOST);
    }

    #[test]
    fn system_257() {
        builds(&or_skip!(in_machine(Kind::System, Suite::Trixie)), HOST);
    }

    #[test]
    fn system_262() {
        builds(&or_skip!(in_machine(Kind::System, Suite::Forky)), HOST);
    }
}

fn builds(manager: &Manager, host: &str) {
    let jobs = json!({
        "build": with(bash(BUILD), json!({ "outputs": { "app": "app.tar" } })),
        "use": with(bash(USE), json!({ "needs": ["build"], "inputs": [{ "name": "app", "path": "." }] })),
    });
    let plan = or_skip!(binds(host).and_then(|binds| plan(manager, "nspawn", binds, jobs)));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.value("use", "made"), "built by 0", "{finished}");
    nothing_is_left(manager);
}

mod an_image_without_run_is_built_by_an_ordinary_user {
    use super::*;

    #[test]
    fn system_252() {
        copies(&or_skip!(in_machine(Kind::System, Suite::Bookworm)));
    }

    #[test]
    fn system_257() {
        copies(&or_skip!(in_machine(Kind::System, Suite::Trixie)));
    }

    #[test]
    fn system_262() {
        copies(&or_skip!(in_machine(Kind::System, Suite::Forky)));
    }
}

fn copies(manager: &Manager) {
    let executor = binds(HOST).map(|binds| with(binds, json!({ "sandbox": "relaxed" })));
    let jobs = json!({ "build": bash(COPY) });
    let plan = or_skip!(executor.and_then(|executor| plan(manager, "systemd", executor, jobs)));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert!(
        finished.lines("build").contains(&"\"manifests\""),
        "{finished}"
    );
    nothing_is_left(manager);
}
