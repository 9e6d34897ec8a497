//! Images that are made of a root file system, as OCI layouts.

use std::time::Duration;

use nixactions_harness::{CommandExt as _, Manager};
use serde_json::Value;

/// The longest time in which an image is made or unpacked.
const LONG: Duration = Duration::from_secs(300);

/// Makes an OCI layout: `$1` from the root file system `$2`, for the architecture `$3`, with the
/// settings `$4`, after the script `$5` has added files to a directory.
const LAYOUT: &str = "set -eu; blobs=$1/blobs/sha256; mkdir -p $blobs $1/added; cd ${1:?}
    tar --numeric-owner -C $2 --exclude='libLLVM*' --exclude=./var/cache --exclude=./var/lib/apt --exclude=./usr/share/zoneinfo -cf layer .
    (cd added; eval \"$5\"; tar --numeric-owner -rf ../layer .); rm -r added
    plain=$(sha256sum <layer | cut -d' ' -f1)
    put() { hex=$(sha256sum <$1 | cut -d' ' -f1); size=$(stat -c %s $1); mv $1 $blobs/$hex; }
    put layer; layer=\"\\\"digest\\\":\\\"sha256:$hex\\\",\\\"size\\\":$size\"
    cat >config <<EOF
{\"architecture\":\"$3\",\"os\":\"linux\",\"config\":$4,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$plain\"]}}
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

/// Makes an image of a root file system and files that a script adds to the directory in which it
/// runs, with these settings. The state directory has it unpacked. Returns its path.
pub(super) fn image(manager: &Manager, root: &str, added: &str, config: &Value) -> String {
    let state = manager.state_dir().display().to_string();
    if manager.machine().is_some() && !manager.file(&state).exists() {
        // An overlay, as the root of a machine, cannot be mapped to other users.
        let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
        manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    }
    let path = manager.dir().join("image").display().to_string();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = config.to_string();
    let argv = ["bash", "-c", LAYOUT, "layout", &path, root];
    let argv = [&argv[..], &[architecture, &config, added]].concat();
    let made = manager.command(&argv).output_within(LONG);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    // Unpacking takes longer than the start of a run may.
    let mut pull = manager.nixactions(&["image", "pull", &path]);
    let pulled = pull.output_within(LONG);
    let told = String::from_utf8_lossy(&pulled.stderr);
    assert!(pulled.status.success(), "{told}");
    path
}
