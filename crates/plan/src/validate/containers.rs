//! Checks the settings of jobs in a root file system of their own.

use std::{collections::BTreeMap, path::Path};

use crate::{
    fault::{At, Refusal, Sink, quoted},
    model::{Bind, Container, ContainerMode, Executor, Image, Network, Sandbox},
    properties, rules,
};
use nixactions_core::image::{Digest, ImageSource};

/// The directories of a container that the engine fills itself.
const ENGINES: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"];

/// Checks the settings of an executor, which may have a root file system of its own.
pub(super) fn check(
    executor: &Executor,
    names: &super::names::Names<'_>,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let Some(settings) = executor.container_settings() else {
        return;
    };
    let is_nspawn = matches!(executor, Executor::Nspawn { .. });
    match (settings.root, settings.image) {
        (Some(_), Some(_)) => sink.add(at, || {
            Refusal::new("both `root` and `image`", "one of the two")
        }),
        (None, None) if is_nspawn => sink.add(at, || {
            Refusal::new("neither `root` nor `image`", "one of the two")
        }),
        (None, None) => check_host(&settings, at, sink),
        (Some(_), None) | (None, Some(_)) if is_nspawn => {}
        (Some(_), None) | (None, Some(_)) => check_without_nspawn(executor, &settings, at, sink),
    }
    if let Some(root) = settings.root {
        check_root(root, &at.key("root"), sink);
    }
    if let Some(image) = settings.image {
        check_image(image, &at.key("image"), sink);
    } else if settings.image_user && settings.root.is_some() {
        sink.add(&at.key("imageUser"), || {
            Refusal::new("true", "an executor with an `image`")
                .hint("a `root` names no user; name one by the property `User`")
        });
    }
    for (i, name) in settings.capabilities.iter().enumerate() {
        check_capability(name, &at.key("capabilities").index(i), sink);
    }
    check_binds(settings.bind, &at.key("bind"), sink);
    super::env(settings.env, &at.key("env"), names, sink);
}

/// Reports settings that mean nothing to jobs on the host.
fn check_host(settings: &Container<'_>, at: &At<'_>, sink: &mut Sink) {
    let set = [
        ("imageUser", settings.image_user),
        ("mode", settings.mode != ContainerMode::default()),
        ("network", settings.network != Network::default()),
        ("privateUsers", !settings.private_users),
        ("capabilities", !settings.capabilities.is_empty()),
        ("bind", !settings.bind.is_empty()),
        ("env", !settings.env.is_empty()),
    ];
    for (name, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
        sink.add(&at.key(name), || {
            Refusal::new(
                format!("`{name}` without a root file system"),
                "`root` or `image` beside it",
            )
            .maybe_hint(instead(name).map(str::to_owned))
        });
    }
}

/// Returns the way to say the same for jobs on the host.
fn instead(name: &str) -> Option<&'static str> {
    match name {
        "network" => Some("jobs on the host have the property `PrivateNetwork`"),
        "capabilities" => Some("jobs on the host have the property `AmbientCapabilities`"),
        "bind" => Some("jobs on the host have the properties `BindPaths` and `BindReadOnlyPaths`"),
        "env" => Some("set the `env` of the workflow or of jobs"),
        _ => None,
    }
}

/// Reports settings of a root file system that only systemd-nspawn knows, or that leave no sandbox.
fn check_without_nspawn(
    executor: &Executor,
    settings: &Container<'_>,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let expected = "an executor of the type `nspawn`";
    if settings.network == Network::Veth {
        sink.add(&at.key("network"), || Refusal::new("`veth`", expected));
    }
    if let Executor::Systemd {
        sandbox: Sandbox::None,
        ..
    } = executor
    {
        sink.add(&at.key("sandbox"), || {
            Refusal::new(
                "`none`",
                "`strict` or `relaxed` (a root file system of its own is a part of the sandbox)",
            )
        });
    }
}

pub(super) fn check_root(root: &Path, at: &At<'_>, sink: &mut Sink) {
    let path = root.to_string_lossy();
    if is_root(&path) {
        sink.add(at, || {
            Refusal::new("the host's own root", "the root directory of a container")
        });
    } else {
        sink.check(at, rules::host_path(&path));
    }
}

pub(super) fn check_image(image: &Image, at: &At<'_>, sink: &mut Sink) {
    let source = match image.oci.parse::<ImageSource>() {
        Ok(ImageSource::Path(_)) => {
            sink.check(&at.key("oci"), rules::host_path(&image.oci));
            None
        }
        Ok(ImageSource::Registry(reference)) => Some(reference),
        Err(error) => {
            sink.add(&at.key("oci"), || {
                Refusal::new(
                    quoted(&image.oci),
                    "an absolute path, or a reference such as `docker://docker.io/library/alpine:3`",
                )
                .hint(error.hint().unwrap_or_else(|| error.to_string()))
            });
            None
        }
    };
    let Some(text) = &image.digest else { return };
    let at = at.key("digest");
    match (
        text.parse::<Digest>(),
        source.and_then(|source| source.digest),
    ) {
        (Err(_), _) => sink.add(&at, || {
            Refusal::new(
                quoted(text),
                "`sha256:` and 64 hexadecimal digits in lower case",
            )
        }),
        (Ok(digest), Some(other)) if digest != other => sink.add(&at, || {
            Refusal::new(
                quoted(text),
                format!("the digest in `oci`, `{other}`, or none"),
            )
        }),
        _ => {}
    }
}

fn check_capability(name: &str, at: &At<'_>, sink: &mut Sink) {
    let is_one = name.starts_with("CAP_")
        && !name.contains(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        && properties::parse("AmbientCapabilities", name).is_ok();
    if !is_one {
        sink.add(at, || {
            Refusal::new(quoted(name), "a capability such as `CAP_SYS_ADMIN`")
        });
    }
}

fn check_binds(binds: &[Bind], at: &At<'_>, sink: &mut Sink) {
    let mut seen: BTreeMap<&Path, usize> = BTreeMap::new();
    for (i, bind) in binds.iter().enumerate() {
        let at = at.index(i);
        sink.check(
            &at.key("source"),
            rules::host_path(&bind.source.to_string_lossy()),
        );
        let at_target = at.key(if bind.target.is_some() {
            "target"
        } else {
            "source"
        });
        let target = bind.target().to_string_lossy();
        if is_root(&target) {
            sink.add(&at_target, || {
                Refusal::new("the container's own root", "a path below it")
                    .hint("`root` is the directory that the container has as its root")
            });
        } else if let Some(own) = ENGINES.iter().find(|own| bind.target().starts_with(own)) {
            sink.add(&at_target, || {
                let expected = format!("a path outside of `{own}`, which is the container's own");
                Refusal::new(quoted(&target), expected)
            });
        } else if bind.target.is_some() {
            sink.check(&at_target, rules::host_path(&target));
        }
        if let Some(first) = seen.insert(bind.target(), i) {
            sink.add(&at_target, || {
                Refusal::new(
                    format!("{} again (it is bind[{first}] already)", quoted(&target)),
                    "each target once",
                )
            });
        }
    }
}

/// Returns whether a path is that of the root directory.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.trim_matches(['/', '.']).is_empty()
}
