//! Finds the root file systems of a plan's executors, and checks them before anything starts: that
//! they exist, that the runner can run in them, that they have a shell for scripts, and that the
//! files of the host are there that they bind.
//!
//! Reads file systems, and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    error::describe,
    ids::JobName,
    plan::{Container, Env, Job, Plan, Shell, Used, properties},
    programs,
    status::Condition,
    store::{self, JobRanges, open_untrusted},
    unit::{self, ImageSpec, ManagerKind, NSPAWN, Nspawn, Placement},
    within::{self, SHELLS},
};

/// The offset of the machine in the header of a program (elf(5)).
const MACHINE: std::ops::Range<usize> = 18..20;

/// The socket of Nix's daemon.
const NIX_SOCKET: &str = "/nix/var/nix/daemon-socket/socket";

/// A fault of an executor on this host, mostly of a root file system.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{named}: {found}; {instead}")]
pub struct RootFault {
    /// The executor or service.
    pub named: String,
    /// The fault, as a phrase.
    pub found: String,
    /// The mend, as a phrase.
    pub instead: String,
}

/// An image that has been unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The directory of its files.
    pub directory: PathBuf,
    /// The image, as the plan names it.
    pub source: String,
}

/// Returns the directory of each root file system that jobs of a plan use, by executor. `unpacked`
/// has the images among them, and `images` their settings.
///
/// # Errors
/// Returns all faults.
pub fn find(
    plan: &Plan,
    manager: ManagerKind,
    unpacked: &BTreeMap<String, Unpacked>,
    images: &BTreeMap<String, ImageSpec>,
) -> Result<BTreeMap<String, PathBuf>, Vec<RootFault>> {
    let mut faults = unshared_networks(plan, manager);
    let mut found = BTreeMap::new();
    for used in plan.used() {
        let named = Placement::by(&used.executor);
        let place = named.with_image(images.get(&used.key));
        let mut fault = |found: String, instead: &str| {
            faults.push(RootFault {
                named: used.named.clone(),
                found,
                instead: instead.to_owned(),
            });
        };
        if place.uses_nix() && place.is_sandboxed() && !Path::new(NIX_SOCKET).exists() {
            fault(
                format!("Nix's daemon does not run here: there is no socket `{NIX_SOCKET}`"),
                "start it, or leave `nix` out",
            );
        }
        let Some(container) = place.container() else {
            continue;
        };
        if manager == ManagerKind::User {
            fault(
                "a user's manager cannot mount a root file system".to_owned(),
                if place.nspawn().is_some() {
                    "start the run as root"
                } else {
                    "start the run as root, or leave `root` and `image` out"
                },
            );
            continue;
        }
        if let Some(nspawn) = place.nspawn() {
            let begins_as_root = named.nspawn().is_none();
            check_nspawn(nspawn, begins_as_root)
                .into_iter()
                .for_each(|(found, instead)| fault(found, instead));
            if begins_as_root {
                for name in without_effect(&used) {
                    fault(
                        format!(
                            "`{name}` has no effect there: the image's user is root, so this is a container of systemd-nspawn"
                        ),
                        "leave it out; limits of resources (systemd.resource-control(5), `Limit…`) and scheduling have an effect",
                    );
                }
            }
        }
        if place.is_shared() && place.root().is_some() && !store::are_looked_up() {
            fault(
                "this host does not look up users through systemd (nss-systemd(8)), as the `mode` `shared` of the type `systemd` needs it".to_owned(),
                "leave `mode` out, or use an executor of the type `nspawn`",
            );
        }
        for bind in container.bind {
            if let Err(error) = fs::metadata(&bind.source) {
                let source = bind.source.display();
                fault(
                    format!("cannot bind `{source}`: {}", describe(&error)),
                    "name a file or directory of the host",
                );
            }
        }
        let image = unpacked.get(&used.key);
        match check(plan, &container, image, used.jobs.iter().copied()) {
            Ok(directory) => _ = found.insert(used.key.clone(), directory),
            Err((found, instead)) => fault(found, instead),
        }
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(faults)
    }
}

/// Returns the jobs whose services cannot join the network of their own.
fn unshared_networks(plan: &Plan, manager: ManagerKind) -> Vec<RootFault> {
    let jobs = plan.jobs.iter();
    let with_both = jobs.filter(|(_, job)| {
        let place = Placement::of(plan, job);
        !job.services.is_empty() && unit::has_private_network(&place, job)
    });
    let fault = |(name, _): (&JobName, &Job)| RootFault {
        named: format!("job `{name}`"),
        found: "with a user's manager, services cannot join the network of a job".to_owned(),
        instead: "start the run as root, or leave `PrivateNetwork` out".to_owned(),
    };
    let of_user = manager == ManagerKind::User;
    with_both.filter(|_| of_user).map(fault).collect()
}

/// Returns the properties that have no effect on the processes in a container.
fn without_effect<'a>(used: &'a Used<'_>) -> BTreeSet<&'a String> {
    let of_jobs = used.jobs.iter().map(|job| &job.properties);
    let of_executor = Placement::by(&used.executor).properties();
    let all = of_executor.into_iter().chain(of_jobs).flat_map(Env::keys);
    all.filter(|name| !properties::reaches_containers(name))
        .collect()
}

/// Returns the obstacles to containers of systemd-nspawn on this host, each with a remedy.
/// `begins_as_root` tells that the plan does not ask for one, but the image needs it.
fn check_nspawn(nspawn: &Nspawn<'_>, begins_as_root: bool) -> Vec<(String, &'static str)> {
    let is_there = Path::new(&programs::program(NSPAWN)).is_absolute();
    let missing = format!("the program `{NSPAWN}` is not installed");
    let is_missing = (!is_there).then(|| match begins_as_root {
        true => (
            format!("{missing}, and the image's user is root"),
            "install it (Debian has it in the package systemd-container), or use an image that names another user",
        ),
        false => (
            missing,
            "install it (Debian has it in the package systemd-container), or use an executor of the type `systemd`",
        ),
    });
    let no_ids = "the user ids of containers (1610612736 to 1879048191) do not exist here";
    let lacks_ids = nspawn.container.private_users && !JobRanges::exist();
    let lacks_ids = lacks_ids.then(|| match begins_as_root {
        true => (
            format!("{no_ids}, and the image's user is root"),
            "start the run on the host itself, or use an image that names another user",
        ),
        false => (
            no_ids.to_owned(),
            "start the run on the host itself, or set `privateUsers` to false",
        ),
    });
    let lacks_users = (!nspawn.container.private_users && !store::are_looked_up()).then(|| {
        (
            "this host does not look up users through systemd (nss-systemd(8)), as `privateUsers` `false` needs it".to_owned(),
            "leave `privateUsers` out",
        )
    });
    let all = [is_missing, lacks_ids, lacks_users];
    all.into_iter().flatten().collect()
}

/// Checks the root file system of these jobs. Returns its directory, or what is wrong and what can
/// be done.
fn check<'a>(
    plan: &Plan,
    container: &Container<'_>,
    unpacked: Option<&Unpacked>,
    mut jobs: impl Iterator<Item = &'a Job>,
) -> Result<PathBuf, (String, &'static str)> {
    let image = unpacked.map(|unpacked| unpacked.directory.as_path());
    let image = image.or(container.root).unwrap_or(Path::new("/"));
    let named = match unpacked {
        Some(unpacked) => unpacked.source.clone(),
        None => image.display().to_string(),
    };
    let directory = fs::canonicalize(image).map_err(|error| {
        (
            format!("`{named}`: {}", describe(&error)),
            "`root` is a directory, a tar archive or a disk image with a root file system",
        )
    })?;
    if !directory.is_dir() {
        // The kernel looks into a disk image when the job starts.
        return match unpacked {
            Some(_) => Ok(directory),
            None => Err((
                format!("`{named}` is neither a directory, a tar archive nor a file system"),
                "name a directory, an archive, or an image of squashfs, erofs or ext4 without a partition table",
            )),
        };
    }
    if directory == Path::new("/") {
        return Err((
            format!("`{named}` is the host's own root"),
            "leave `root` out to use the host's file system",
        ));
    }
    let shell = SHELLS
        .iter()
        .find_map(|shell| within::find(&directory, Path::new(shell)));
    match shell {
        None if jobs.any(|job| has_scripts(plan, job)) => Err((
            format!("`{named}` has neither /bin/bash nor /bin/sh for the scripts of its jobs"),
            "add a shell to it, or use `run` in all steps",
        )),
        None => Ok(directory),
        Some(shell) => match (machine(shell.path()), own_machine()) {
            (Some(theirs), Some(own)) if theirs != own => Err((
                format!(
                    "`{named}` is for another architecture (ELF machine {theirs}, this one is {own})"
                ),
                "use a root file system for this machine",
            )),
            _ => Ok(directory),
        },
    }
}

/// Returns whether a job needs bash or sh.
fn has_scripts(plan: &Plan, job: &Job) -> bool {
    let is_script =
        |condition: Option<&str>| matches!(Condition::parse(condition), Condition::Bash(_));
    let defaults = plan.defaults_of(job);
    let runs_by_sh = |script: Option<&str>, shell: Option<&Shell>| {
        script.is_some()
            && matches!(
                shell.or(defaults.shell.as_ref()),
                None | Some(Shell::Bash | Shell::Sh)
            )
    };
    is_script(job.condition.as_deref())
        || job.steps.iter().any(|step| {
            let shell = step.shell.as_ref();
            runs_by_sh(step.script(), shell)
                || is_script(step.condition.as_deref())
                || step
                    .post
                    .as_ref()
                    .is_some_and(|post| runs_by_sh(post.script(), post.shell.as_ref().or(shell)))
        })
}

/// Returns the machine that this program is for.
fn own_machine() -> Option<u16> {
    machine(&std::env::current_exe().ok()?)
}

/// Returns the machine that a program is for (elf(5)). `None` where the file is another.
fn machine(program: &Path) -> Option<u16> {
    let mut header = [0; 20];
    // The root may have a named pipe there, which is not waited for.
    let mut file = open_untrusted(program).ok()??;
    file.read_exact(&mut header).ok()?;
    let bytes = header.get(MACHINE)?.try_into().ok()?;
    // Byte 5 names the byte order; this program's is the native one.
    header
        .starts_with(b"\x7fELF")
        .then(|| u16::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(root: &str, more: &str) -> Vec<String> {
        let plan = format!(
            r#"{{ "version": 1, "name": "a",
                "executors": {{ "box": {{ "type": "systemd", "root": "{root}"{more} }} }},
                "jobs": {{ "a": {{ "executor": "box", "steps": [{{ "bash": "x" }}] }} }} }}"#
        );
        let plan = crate::plan::parse(plan.as_bytes()).unwrap();
        let faults = find(
            &plan,
            ManagerKind::System,
            &BTreeMap::new(),
            &BTreeMap::new(),
        )
        .unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_faults_are_told() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().display().to_string();
        let bind = r#", "bind": [{ "source": "/no/such/source" }]"#;
        let found = faults(&path, bind);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("cannot bind `/no/such/source`"),
            "{found:?}"
        );
        assert!(
            found[1].contains("neither /bin/bash nor /bin/sh"),
            "{found:?}"
        );
        assert!(faults("/no/such/root", "")[0].contains("`/no/such/root`"));
        assert!(faults("/proc/self/root", "")[0].contains("the host's own root"));
    }

    #[test]
    fn a_shell_that_is_a_named_pipe_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        let pipe = root.path().join("bin/sh");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(machine(&pipe)));
        let found = told.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(found, Ok(None));
    }

    #[test]
    fn another_architecture_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        let mut header = [0; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[18..20].copy_from_slice(&0x7777u16.to_ne_bytes());
        fs::write(root.path().join("bin/sh"), header).unwrap();
        let found = faults(&root.path().display().to_string(), "");
        assert!(found[0].contains("another architecture"), "{found:?}");
    }
}
