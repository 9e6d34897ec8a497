//! Builds an image with buildah in a container, and uses it in the next job.

use std::path::Path;

use nixactions_harness::{Manager, bash, on_managers, or_skip, with};
use serde_json::json;

use super::{NONE, nothing_is_left, plan};

on_managers!(an_image_is_built_and_used_in_one_workflow on embedded);

/// Builds an image whose only program is bash. `RUN` starts it.
const BUILD: &str = r#"mkdir root; cp --parents /bin/bash $(ldd /bin/bash | grep -o '/[^ ]*') root
    printf 'FROM scratch\nCOPY root /\nRUN ["/bin/bash", "-c", "echo built by $UID >/made"]\n' >Containerfile
    buildah --storage-driver vfs build --isolation chroot --tag app .
    buildah --storage-driver vfs push app oci-archive:app.tar"#;
const USE: &str = r#"app=$(buildah --storage-driver vfs from oci-archive:app.tar)
    buildah --storage-driver vfs run --isolation chroot $app /bin/bash -c 'read -r line </made; echo "made=$line"'"#;

fn an_image_is_built_and_used_in_one_workflow(manager: &Manager) {
    if !Path::new("/usr/bin/buildah").exists() {
        return nixactions_harness::Skip::new("the program buildah").report();
    }
    // The job gets the programs of the host by `bind`: the root has no buildah.
    let binds = ["/usr", "/etc/alternatives", "/etc/containers"];
    let binds = binds.map(|path| json!({ "source": path, "target": path, "readOnly": true }));
    let jobs = json!({
        "build": with(bash(BUILD), json!({ "outputs": { "app": "app.tar" } })),
        "use": with(bash(USE), json!({ "needs": ["build"], "inputs": [{ "name": "app", "path": "." }] })),
    });
    let executor = json!({ "bind": binds });
    let plan = or_skip!(plan(manager, "nspawn", executor, jobs));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.value("use", "made"), "built by 0", "{finished}");
    nothing_is_left(manager);
}
