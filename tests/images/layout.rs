//! Images of a machine's own programs, made in the machine: scripts for bash.

/// Makes a small root file system: a shell and some programs of the machine, a user `web`, and a
/// file of each of the two users.
pub const ROOT: &str = "mkdir -p $1/bin $1/etc $1/srv; cd /
    for program in sh cat id ls sleep stat chown; do
        cp -L /bin/$program $1/bin/
        ldd /bin/$program | grep -o '/[^ ]*' | while read -r library; do mkdir -p $1${library%/*}; cp -L $library $1$library; done
    done
    printf 'root:x:0:0::/root:/bin/sh\\nweb:x:999:998::/srv:/bin/sh\\n' >$1/etc/passwd
    printf 'root:x:0:\\nwww:x:998:\\n' >$1/etc/group
    echo of-root >$1/srv/root; echo of-web >$1/srv/web; chmod 644 $1/srv/*; chown 999:998 $1/srv/web";

/// Makes an OCI layout of a root file system: `$1` from `$2`, for the architecture `$3`, with the
/// user `$4` (`web` if there is none).
pub const LAYOUT: &str = "blobs=$1/blobs/sha256; mkdir -p $blobs; cd ${1:?}; tar --numeric-owner -C $2 -cf layer .
    plain=$(sha256sum <layer | cut -d' ' -f1); gzip -n layer
    put() { hex=$(sha256sum <$1 | cut -d' ' -f1); size=$(stat -c %s $1); mv $1 $blobs/$hex; }
    put layer.gz; layer=\"\\\"digest\\\":\\\"sha256:$hex\\\",\\\"size\\\":$size\"
    cat >config <<EOF
{\"architecture\":\"$3\",\"os\":\"linux\",\"config\":{\"Env\":[\"FROM_IMAGE=yes\",\"OVER=image\",\"HOME=/bad\",\"PATH=/bin:/of-image\"],\"User\":\"${4-web}\",\"WorkingDir\":\"/srv\"},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$plain\"]}}
EOF
    put config; config=\"\\\"digest\\\":\\\"sha256:$hex\\\",\\\"size\\\":$size\"
    cat >manifest <<EOF
{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",$config},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",$layer}]}
EOF
    put manifest
    cat >index.json <<EOF
{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$hex\",\"size\":$size}]}
EOF
    echo '{\"imageLayoutVersion\":\"1.0.0\"}' >oci-layout; echo sha256:$hex";

/// Returns this machine's architecture, as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
