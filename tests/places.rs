//! Where things lie does not matter: the program, the state directory, the source tree and the plan
//! each in every kind of place, on one machine a manager.

use std::path::Path;

use nixactions_harness::{CommandExt as _, Finished, Kind, Manager, bash, on_managers, with};
use serde_json::{Value, json};

on_managers!(programs_and_state_may_lie_anywhere on embedded_252, embedded_262, system_252, system_257, system_262, user_252, user_262);
on_managers!(a_workspace_that_cannot_be_mounted_is_a_copy on embedded_262, system_252, system_262);
on_managers!(a_large_repository_behind_a_link_is_mounted on embedded_262, system_252, system_262);
on_managers!(runs_may_lie_on_a_file_system_of_their_own on embedded_262, system_252, system_262);
on_managers!(paths_are_short_and_the_same_in_every_run on embedded_257, embedded_262, system_252, system_257, system_262, user_262);

const NONE: [&str; 0] = [];

/// More files than a job copies, so that the workspace is mounted where it can be.
const FILES: usize = 300;

/// The contents of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Program,
    State,
    Source,
    Plan,
}

/// A directory, and what makes it: a script that is given it.
struct Place {
    path: String,
    make: &'static str,
    is_read_only: bool,
}

/// Returns the places that the manager's user may use.
fn places(manager: &Manager) -> Vec<Place> {
    let plain = "mkdir -p \"$1\"";
    // As below a directory that is its owner's alone.
    let private = "mkdir -p \"$1\" && chmod 700 \"${1%/*}\"";
    let bound = "mkdir -p \"$1\" \"$1-source\" && mount --bind \"$1-source\" \"$1\"";
    let read_only = "mkdir -p \"$1\"";
    let of_root = [
        ("/root/place", plain),
        ("/opt/private/place", private),
        ("/mnt/bound", bound),
    ];
    let of_all = [
        ("/tmp/place", plain),
        ("/var/tmp/place", plain),
        ("/home/place", plain),
        ("/opt/place", plain),
        ("/opt/with blanks/-and --dashes", plain),
    ];
    let mut places: Vec<_> = of_all
        .into_iter()
        .chain(of_root.into_iter().filter(|_| manager.kind() != Kind::User))
        .map(|(path, make)| Place {
            path: path.to_owned(),
            make,
            is_read_only: false,
        })
        .collect();
    if manager.kind() == Kind::User {
        places.push(Place {
            path: manager.dir().join("private/place").display().to_string(),
            make: private,
            is_read_only: false,
        });
    } else {
        places.push(Place {
            path: "/opt/store".to_owned(),
            make: read_only,
            is_read_only: true,
        });
    }
    places
}

fn as_root(manager: &Manager, script: &str, arguments: &[&str]) {
    let machine = manager.machine().expect("it is in a machine");
    let mut argv = vec!["bash", "-ec", script, "bash"];
    argv.extend(arguments);
    machine.command(&argv).ok();
}

fn plan() -> Value {
    json!({ "version": 1, "name": "placed", "jobs": {
        "make": with(bash("echo COUNT=$(ls many | wc -l); if mountpoint -q .; then echo TYPE=mount; else echo TYPE=copy; fi
            echo made > file; echo changed > many/1; touch $HOME/x"), json!({ "outputs": { "file": "file" } })),
        "take": with(bash("cat file; cat many/1"), json!({ "needs": ["make"], "inputs": ["file"] })),
    } })
}

/// Puts everything but one thing in the usual place, and runs.
fn run_with(manager: &Manager, thing: Thing, place: &Place) -> Finished {
    let placed = |usual: &Path, own: Thing| {
        if own == thing {
            Path::new(&place.path).join(usual.file_name().expect("it has a name"))
        } else {
            usual.to_owned()
        }
    };
    let program = placed(Path::new("/usr/bin/nixactions"), Thing::Program);
    let state = placed(&manager.dir().join("state"), Thing::State);
    let source = placed(&manager.dir().join("source"), Thing::Source);
    let plan = placed(&manager.dir().join("placed.json"), Thing::Plan);
    let argv = [
        program.display().to_string(),
        "run".to_owned(),
        "--output=json".to_owned(),
        format!("--manager={}", kind(manager)),
        format!("--state-dir={}", state.display()),
        format!("--source={}", source.display()),
        plan.display().to_string(),
    ];
    manager.start_command(manager.command(&argv)).end()
}

fn kind(manager: &Manager) -> &'static str {
    match manager.kind() {
        Kind::System => "system",
        Kind::User => "user",
        Kind::Embedded => "embedded",
    }
}

fn programs_and_state_may_lie_anywhere(manager: &Manager) {
    let source =
        "mkdir -p source/many && cd source/many && for f in $(seq $1); do echo $f > $f; done";
    manager
        .command(&["bash", "-ec", source, "bash", &FILES.to_string()])
        .ok();
    manager.write("placed.json", plan().to_string());
    // A machine's own root is an overlay, over which nothing can be mounted.
    as_root(
        manager,
        "for dir in /opt /mnt \"$1/state\"; do mkdir -p \"$dir\"; mount -t tmpfs -o mode=1777 tmpfs \"$dir\"; done",
        &[&manager.dir().display().to_string()],
    );
    let mut wrong = Vec::new();
    for place in places(manager) {
        as_root(manager, place.make, &[&place.path]);
        // A user's own things are the user's, wherever they lie.
        let put = "cp -a /usr/bin/nixactions /usr/bin/nixactions-runner \"$2/source\" \"$2/placed.json\" \"$1\"
            [ -z \"$3\" ] || chown -R \"$3\" \"$1\" \"${1%/place}\"; [ -z \"$4\" ] || { mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; }";
        let owner = if manager.kind() == Kind::User {
            "1000"
        } else {
            ""
        };
        let read_only = if place.is_read_only { "yes" } else { "" };
        let dir = manager.dir().display().to_string();
        as_root(manager, put, &[&place.path, &dir, owner, read_only]);
        for thing in [Thing::Program, Thing::State, Thing::Source, Thing::Plan] {
            if thing == Thing::State && place.is_read_only {
                continue;
            }
            let run = run_with(manager, thing, &place);
            let lines = |job| {
                if run.code == Some(0) {
                    run.lines(job)
                } else {
                    Vec::new()
                }
            };
            let count = format!("COUNT={FILES}");
            let right = lines("make").first() == Some(&count.as_str())
                && lines("take") == ["made", "1"]
                && is_mounted_where_it_can_be(manager, thing, &run);
            if !right {
                wrong.push(format!("{thing:?} in {}: {run}", place.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Only where the state directory lies decides whether a workspace can be mounted.
fn is_mounted_where_it_can_be(manager: &Manager, thing: Thing, run: &Finished) -> bool {
    let expected = if manager.kind() == Kind::User {
        "copy"
    } else {
        "mount"
    };
    thing == Thing::State || run.value("make", "TYPE") == expected
}

fn a_workspace_that_cannot_be_mounted_is_a_copy(manager: &Manager) {
    let source = "mkdir -p source/many && cd source/many && for f in $(seq $1); do echo $f > $f; done; chmod 600 1";
    manager
        .command(&["bash", "-ec", source, "bash", &FILES.to_string()])
        .ok();
    let state = manager.dir().join("state").display().to_string();
    as_root(
        manager,
        "mkdir $1; mount -t tmpfs -o mode=755 tmpfs $1",
        &[&state],
    );
    // It puts another file system where the next job's layers have to lie on one.
    let spoil = "mount -t tmpfs -o mode=777 tmpfs $(echo ../../../second/work) && mkdir ../../../second/work/x";
    let plan = json!({ "version": 1, "name": "spoiled",
        "executors": { "none": { "type": "systemd", "sandbox": "none" } },
        "jobs": {
            "first": with(bash(spoil), json!({ "executor": "none" })),
            "second": with(bash("if mountpoint -q .; then echo TYPE=mount; else echo TYPE=copy; fi; echo COUNT=$(ls many | wc -l)
                echo MODE=$(stat -c %a many/1) OWN=$(find . ! -user $(id -u) | wc -l); rm -r many; [ $NIXACTIONS_ATTEMPT = 2 ]"),
                json!({ "needs": ["first"], "retry": { "maxAttempts": 2, "minTime": 0 } })),
        } });
    let run = manager
        .run(&plan, &["--source=source", &format!("--state-dir={state}")])
        .exits(0);
    let each = ["TYPE=copy", "COUNT=300", "MODE=600 OWN=0"];
    assert_eq!(run.lines("second"), [each, each].concat(), "{run}");
    let told = run.events.iter().any(|event| {
        event["event"]["message"]
            .to_string()
            .contains("the workspace is a copy of the source tree")
    });
    assert!(told, "{run}");
}

/// The target of a link counts like the tree itself, and its copy has no privileges.
fn a_large_repository_behind_a_link_is_mounted(manager: &Manager) {
    let state = manager.dir().join("state").display().to_string();
    as_root(
        manager,
        "mkdir $1; mount -t tmpfs -o mode=755 tmpfs $1",
        &[&state],
    );
    let source = "git init -q whole; mkdir whole/.git/many; cp -r whole part; git init -q bytes
        (cd whole/.git/many; for f in $(seq $1); do echo $f > $f; done; cp /bin/true 1; chmod 6755 1)
        mv whole/.git repository; ln -s $PWD/repository whole/.git
        rmdir part/.git/many; ln -s $PWD/repository/many part/.git/many
        truncate -s 17M large; ln -s $PWD/large bytes/.git/large
        cp /bin/true rights; chmod 6755 rights; ln -s $PWD/rights bytes/.git/rights";
    manager
        .command(&["bash", "-ec", source, "bash", &FILES.to_string()])
        .ok();
    let script = "if mountpoint -q .; then echo TYPE=mount; else echo TYPE=copy; fi; find . -perm /6000 -type f";
    let plan = json!({ "version": 1, "name": "linked", "jobs": { "j": bash(script) } });
    for tree in ["whole", "part", "bytes"] {
        let arguments = [format!("--source={tree}"), format!("--state-dir={state}")];
        let run = manager.run(&plan, &arguments).exits(0);
        assert_eq!(run.lines("j"), ["TYPE=mount"], "{tree}: {run}");
    }
}

fn runs_may_lie_on_a_file_system_of_their_own(manager: &Manager) {
    as_root(
        manager,
        "mkdir -p $1/runs; mount -t tmpfs -o mode=755,size=64M tmpfs $1/runs; echo 1 >$1/max-concurrent-jobs
            mkdir $2/source; cd $2/source; for f in $(seq $3); do echo $f >$f; done",
        &[&manager.state_dir().display().to_string(), &manager.dir().display().to_string(), &FILES.to_string()],
    );
    let makes = with(
        bash("echo $(ls | wc -l) >made"),
        json!({ "outputs": { "made": "made" } }),
    );
    let takes = with(
        bash("echo MADE=$(cat made); [ $NIXACTIONS_ATTEMPT = 2 ]"),
        json!({ "needs": ["makes"], "inputs": ["made"], "retry": { "maxAttempts": 2, "minTime": 0 } }),
    );
    let plan = json!({ "version": 1, "name": "apart", "jobs": { "makes": makes, "takes": takes, "other": bash("true") } });
    let first = manager.run(&plan, &["--source=source"]).exits(0);
    assert_eq!(first.lines("takes"), ["MADE=300"; 2], "{first}");
    let again = ["rerun", "--job=takes", "--output=json", &first.id];
    let again = manager.start_command(manager.nixactions(&again)).end();
    assert_eq!(again.exits(0).lines("takes"), ["MADE=300"; 2]);
    // The state directory itself has the room.
    let wait = "\"$@\" 2>told & until grep 'free room' told; do sleep 0.1; done; kill -TERM $!; wait $! || true";
    let state = format!("--state-dir={}", manager.state_dir().display());
    let run = ["run", "--disk-reserve=100M", &state, "plan.json"];
    let argv = [
        "timeout",
        "60",
        "bash",
        "-c",
        wait,
        "bash",
        "/usr/bin/nixactions",
    ];
    let told = manager.command(&[argv.as_slice(), &run].concat()).ok();
    let place = format!("{}/runs`", manager.state_dir().display());
    assert!(told.contains(&place), "{told}");
    manager.nixactions(&["clean", "--keep=0"]).ok();
    assert_eq!(manager.runs(), NONE);
    first.leaves_nothing(manager);
}

fn paths_are_short_and_the_same_in_every_run(manager: &Manager) {
    // The path of a socket has 108 bytes: more than half of them are the job's own.
    let script = "echo $NIXACTIONS_WORKSPACE $HOME; [ $PWD = $NIXACTIONS_WORKSPACE ]; [ ${#PWD} -le 44 ]; [ ${#HOME} -le 44 ]";
    let plan = |name: &str| {
        json!({ "version": 1, "name": name, "executors": { "relaxed": { "type": "systemd", "sandbox": "relaxed" } },
            "jobs": { "one": bash(script), "another-name": with(bash(script), json!({ "executor": "relaxed" })) } })
    };
    let deep = format!("/srv/{}", "deep/".repeat(20));
    let first = manager.run(&plan("short"), &NONE).exits(0);
    let state = if manager.kind() == Kind::User {
        manager.dir().join("deep/".repeat(20)).display().to_string()
    } else {
        deep
    };
    let plan_file = manager
        .plan(&plan("a-long-name-of-a-workflow"))
        .display()
        .to_string();
    let second = manager
        .start_command(manager.nixactions(&[
            "run",
            &plan_file,
            "--output=json",
            "--state-dir",
            &state,
        ]))
        .end()
        .exits(0);
    let seen = first.lines("one");
    for lines in [
        first.lines("another-name"),
        second.lines("one"),
        second.lines("another-name"),
    ] {
        assert_eq!(lines, seen, "{first}\n{second}");
    }
}
