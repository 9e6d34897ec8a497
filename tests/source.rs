//! Repositories that source trees name: copied where they belong to the tree, whatever the caller
//! is working in, and never otherwise.

use nixactions_harness::{
    CommandExt as _, Kind, Manager, RUN_DEADLINE, bash, on_managers, on_shared_managers,
};
use serde_json::{Value, json};

on_shared_managers!(
    a_hook_of_another_repository_may_start_a_run,
    a_repository_behind_links_is_whole_in_the_job,
    parts_of_a_repository_that_jobs_do_not_see_are_told,
    a_foreign_repository_is_not_copied,
    a_shared_repository_keeps_its_setgid_bits,
    git_executes_nothing_of_a_hostile_repository,
    odd_files_in_place_of_gits_own_neither_stop_nor_leak,
);
on_managers!(the_state_directory_is_no_part_of_the_source on system_252, system_262, user_262);
on_managers!(a_tree_that_changes_during_its_copy_leaks_nothing on embedded, embedded_262, system_252, system_262);
on_managers!(another_users_link_leads_root_to_no_other_source on embedded, system_252, system_262);

on_managers!(a_member_of_a_group_copies_what_the_group_may_read on user_252, user_262);
on_managers!(a_parent_directory_is_a_source_without_a_link on embedded, system_252, system_262);
on_managers!(root_shows_jobs_only_what_the_owner_of_a_tree_may_read on embedded, system_252, system_262);
on_managers!(private_files_of_the_owner_of_a_tree_are_in_its_copy on embedded, system_252, system_262);

const NONE: [&str; 0] = [];

/// Makes repositories by a script, in a directory of the test's own.
fn make(manager: &Manager, name: &str, script: &str) {
    let head = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x \
        GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x; umask 022; mkdir $1; cd $1; \
        new() { git init -q -b main $1; (cd $1; echo $1 > $1.txt; git add .; git commit -qm $1); }";
    manager
        .command(&["bash", "-ec", &format!("{head}\n{script}"), "make", name])
        .ok();
}

fn plan(script: &str) -> Value {
    json!({ "version": 1, "name": "source", "jobs": { "j": bash(script) } })
}

fn a_hook_of_another_repository_may_start_a_run(manager: &Manager) {
    make(
        manager,
        "hook",
        "new here; new other; git clone -q --bare other bare.git",
    );
    let script = "ls; git log --format=%s";
    let plan = manager.plan(&plan(script));
    let inside = |path: &str| manager.dir().join("hook").join(path).display().to_string();
    // As git sets them for its hooks, and as people do.
    let other = inside("other");
    for variables in [
        &[("GIT_DIR", ".")][..],
        &[
            ("GIT_DIR", &format!("{other}/.git")),
            ("GIT_WORK_TREE", &other),
        ],
        &[("GIT_INDEX_FILE", &format!("{other}/.git/index"))],
        &[
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "core.worktree"),
            ("GIT_CONFIG_VALUE_0", &other),
        ],
        &[("GIT_OBJECT_DIRECTORY", &format!("{other}/.git/objects"))],
    ] {
        let mut command = manager.nixactions(&[
            "run".as_ref(),
            plan.as_os_str(),
            "--output=json".as_ref(),
            format!("--source={}", inside("here")).as_ref(),
        ]);
        command.envs(variables.iter().copied());
        let output = command.output_within(RUN_DEADLINE);
        let run = manager.finished(&output).exits(0);
        assert_eq!(run.lines("j"), ["here.txt", "here"], "{variables:?}: {run}");
    }
}

fn a_repository_behind_links_is_whole_in_the_job(manager: &Manager) {
    make(
        manager,
        "links",
        "new whole; mv whole/.git elsewhere; ln -s ../elsewhere whole/.git
        new parts; mv parts/.git/objects store; ln -s ../../store parts/.git/objects
        mv parts/.git/config config; ln -s $PWD/config parts/.git/config
        new deep; cp -r deep deeper; rm -r deeper/.git; (cd deep; git gc -q)
        mkdir -p far/refs; mv deep/.git/objects/pack far/pack; ln -s $PWD/far/pack deep/.git/objects/pack
        mv deep/.git/info/exclude far/exclude; ln -s ../../../far/exclude deep/.git/info/exclude; chmod 600 far/exclude
        mv deep/.git/refs/heads far/refs/heads; ln -s $PWD/far/refs/heads deep/.git/refs/heads
        new ignored; cd ignored; mkdir .kept; echo .kept > .git/info/exclude
        mv .git/objects .kept/objects; ln -s ../.kept/objects .git/objects
        mv .git/refs .kept/refs; ln -s $PWD/.kept/refs .git/refs; cd ..
        new chain; mv chain/.git/objects one; ln -s $PWD/one chain/.git/objects
        mv one/info two; ln -s $PWD/two one/info; for dir in one/??; do mv $dir three; ln -s $PWD/three $dir; break; done
        new both; mv both/.git elsewhere2; ln -s ../elsewhere2 both/.git
        mv elsewhere2/objects four; ln -s ../four elsewhere2/objects
        new base; mv base/.git/objects five; ln -s $PWD/five base/.git/objects
        git -C base worktree add -q ../worktree; git -C worktree commit -q --amend -m worktree",
    );
    let names = [
        "whole", "parts", "deep", "ignored", "chain", "both", "worktree",
    ];
    for name in names {
        let script = "git log --format=%s; git status --porcelain; git fsck; echo x > new; git add new; git -c user.name=x -c user.email=x@x commit -qm two; git log --format=%s";
        let run = manager
            .run(&plan(script), &[format!("--source=links/{name}")])
            .exits(0);
        let lines = run.lines("j");
        let kept: Vec<_> = lines
            .iter()
            .filter(|line| !line.contains("hecking"))
            .collect();
        assert_eq!(kept, [&name, &"two", &name], "{run}");
    }
    let left = "git -c safe.directory=* -C links/whole log --format=%s";
    assert_eq!(manager.command(&["bash", "-ec", left]).ok().trim(), "whole");
}

fn parts_of_a_repository_that_jobs_do_not_see_are_told(manager: &Manager) {
    // A user's manager copies what the user may read.
    let hide = match manager.kind() {
        Kind::User => "chmod 000 private",
        _ => "chmod 700 private",
    };
    make(
        manager,
        "hidden",
        &format!(
            "new tree; mkdir private; mv tree/.git/logs private/logs; ln -s $PWD/private/logs tree/.git/logs; {hide}
            git init -q --ref-format=reftable tables || exit 0; cd tables; echo x > x; git add x; git commit -qm x
            git worktree add -q ../table"
        ),
    );
    let run = manager.run(&plan("ls"), &["--source=hidden/tree"]).exits(0);
    assert_eq!(run.lines("j"), ["tree.txt"], "{run}");
    assert!(
        run.stderr.contains("hidden/tree/.git/logs` ") && run.stderr.contains("`git clone`"),
        "{run}"
    );
    if manager
        .command(&["ls", "hidden/table"])
        .status()
        .is_ok_and(|status| status.success())
    {
        let run = manager
            .run(&plan("ls -A"), &["--source=hidden/table"])
            .exits(0);
        assert_eq!(run.lines("j"), ["x"], "{run}");
        assert!(
            run.stderr.contains("hidden/table`") && run.stderr.contains("reftable"),
            "{run}"
        );
        let whole = manager
            .run(&plan("git log --format=%s"), &["--source=hidden/tables"])
            .exits(0);
        assert_eq!(whole.lines("j"), ["x"], "{whole}");
    }
}

fn a_foreign_repository_is_not_copied(manager: &Manager) {
    make(
        manager,
        "foreign",
        "new private; chmod 700 private; for kind in file link fake; do mkdir $kind; echo mine > $kind/mine; done
        echo gitdir: $PWD/private/.git > file/.git
        ln -s $PWD/private/.git link/.git
        mkdir -p own/worktrees/w; echo $PWD/private/.git > own/worktrees/w/commondir
        echo $PWD/fake/.git > own/worktrees/w/gitdir; echo gitdir: $PWD/own/worktrees/w > fake/.git
        new outer; cp -r file outer/nested; echo '*' > outer/nested/.gitignore",
    );
    // A user may link to files of that same user.
    let kinds: &[&str] = if manager.kind() == Kind::User {
        &["file", "fake"]
    } else {
        &["file", "link", "fake"]
    };
    for kind in kinds {
        let script =
            "ls -A; git log 2>/dev/null && echo LEAK; grep -rl private . && echo LEAK; true";
        let run = manager
            .run(&plan(script), &[format!("--source=foreign/{kind}")])
            .exits(0);
        assert_eq!(run.lines("j"), ["mine"], "{kind}: {run}");
        assert!(run.stderr.contains("which is not its own"), "{run}");
    }
    let run = manager
        .run(&plan("git status --porcelain"), &["--source=foreign/outer"])
        .exits(0);
    assert!(!run.lines("j").contains(&"LEAK"), "{run}");
}

fn a_shared_repository_keeps_its_setgid_bits(manager: &Manager) {
    make(
        manager,
        "shared",
        "git init -q --shared -b main here; cd here; mkdir team; chmod 2775 team; echo x > team/x; git add .; git commit -qm here",
    );
    // The sandbox of a user's manager, and one without user records, forbids them in a job.
    let script = "mkdir probe; if chmod g+s probe 2>/dev/null; then stat -c %A .git/objects team | cut -c7; else echo none; fi";
    let run = manager
        .run(&plan(script), &["--source=shared/here"])
        .exits(0);
    let lines = run.lines("j");
    assert!(lines == ["s", "s"] || lines == ["none"], "{run}");
    if manager.kind() == Kind::System {
        assert_ne!(lines, ["none"], "{run}");
    }
    let plain = manager.run(&plan("true"), &NONE).exits(0);
    plain.leaves_nothing(manager);
}

/// In a directory that only its group may enter, as groups have them on servers.
fn a_member_of_a_group_copies_what_the_group_may_read(manager: &Manager) {
    let place = manager.dir().join("team");
    let script = "umask 007; export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x
        mkdir $1; cd $1; git init -q -b main tree; cd tree; git commit -q --allow-empty -m team
        mkdir ../other; mv .git ../other/git; ln -s ../other/git .git
        chown -hR 1234:tester $1; chown root:tester $1 $1/other; chmod 770 $1 $1/other";
    let machine = manager.machine().expect("it runs in a machine");
    machine
        .command(&["bash", "-ec", script, "make"])
        .arg(&place)
        .ok();
    let run = manager
        .run(&plan("git log --format=%s"), &["--source=team/tree"])
        .exits(0);
    assert_eq!(run.lines("j"), ["team"], "{run}");
}

/// Every git of the shared machines fetches the ignore file that this partial clone lacks.
fn git_executes_nothing_of_a_hostile_repository(manager: &Manager) {
    make(
        manager,
        "hostile",
        r#"git init -q -b main tree; cd tree; echo hi > file; git add file; echo x > other; chmod 777 ..
        git update-index --add --cacheinfo 100644,$(printf %040d 1),.gitignore
        git update-index --skip-worktree .gitignore
        git config core.repositoryformatversion 1; git config extensions.partialClone evil
        git config remote.evil.promisor true; git config remote.evil.url $PWD/.git
        git config remote.evil.uploadpack "id -u > $PWD/../executed; true"
        git config core.fsmonitor "id -u > $PWD/../executed; false"
        git config protocol.allow always; git config protocol.file.allow always
        if [ "$(id -u)" = 0 ]; then cd ..; cp -r tree owned; chown -R 1234:1234 owned; fi"#,
    );
    let trees: &[&str] = match manager.kind() {
        Kind::User => &["tree"],
        _ => &["tree", "owned"],
    };
    for tree in trees {
        let source = format!("--source=hostile/{tree}");
        let plan = manager.plan(&plan("cat file"));
        let mut command = manager.nixactions(&["run".as_ref(), plan.as_os_str(), source.as_ref()]);
        let output = command.output_within(RUN_DEADLINE);
        // The directory of the machine is not always visible here.
        let look = "if [ -e hostile/executed ]; then echo executed; else echo nothing; fi";
        let found = manager.command(&["bash", "-ec", look]).ok();
        assert_eq!(found.trim(), "nothing", "{tree}: {output:?}");
    }
}

fn odd_files_in_place_of_gits_own_neither_stop_nor_leak(manager: &Manager) {
    make(
        manager,
        "odd-git",
        r#"umask 077; echo TOPSECRET > secret; new private; umask 022
        mkdir pipe; mkfifo pipe/.git; mkdir sparse; truncate -s 64G sparse/.git
        new leak; ln -s $PWD/secret leak/.git/objects/info/alternates
        mkdir common link; cp -r private/.git/HEAD private/.git/objects private/.git/refs common
        chmod -R go=rX common; echo $PWD/private/.git > common/commondir; ln -s ../common link/.git
        chmod 755 ."#,
    );
    let plan = manager.plan(&plan("grep -rl private . && echo LEAK; true"));
    for (tree, starts) in [("pipe", false), ("sparse", false), ("leak", true)] {
        let source = format!("--source=odd-git/{tree}");
        let mut command = manager.nixactions(&["run".as_ref(), plan.as_os_str(), source.as_ref()]);
        let output = command.output_within(RUN_DEADLINE);
        assert_eq!(output.status.success(), starts, "{tree}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("TOPSECRET"), "{tree}: {stderr}");
    }
    let mut command = manager.nixactions(&[
        "run".as_ref(),
        plan.as_os_str(),
        "--source=odd-git/link".as_ref(),
    ]);
    let output = command.output_within(RUN_DEADLINE);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(!stdout.contains("LEAK"), "{output:?}");
}

/// git waits at a named pipe, which the owner of the tree has put in the place of its ignore file.
/// Meanwhile the owner replaces a directory by a link to one that only root may read.
fn a_tree_that_changes_during_its_copy_leaks_nothing(manager: &Manager) {
    make(
        manager,
        "swap",
        r#"mkdir -p secret/inner secret/tree; for key in inner tree; do echo TOPSECRET > secret/$key/key; done
        chmod -R go= secret
        mkdir links home; git init -q links/tree; mkdir -p links/a/inner; echo own > links/a/inner/key
        ln -s $PWD/links/a/inner links/tree/.git/x; echo hi > links/tree/key
        git init -q home/tree; echo own > home/tree/key
        for tree in links/tree home/tree; do rm -f $tree/.git/info/exclude; mkfifo $tree/.git/info/exclude; done
        chown -h -R 1234:1234 links home; chmod 777 ."#,
    );
    let directory = manager.dir().join("swap");
    let directory = directory.display();
    for (tree, swapped) in [("links/tree", "links/a"), ("home/tree", "home")] {
        // The directory moves while the pipe is open for git, which reads it after that.
        let swap = format!(
            "cd {directory}; exec 3> {tree}/.git/info/exclude; mv {swapped} moved-{}; ln -s {directory}/secret {swapped}; exec 3>&-
            sleep infinity",
            swapped.replace('/', "-"),
        );
        let mut owner = manager
            .command(&[
                "setpriv",
                "--reuid=1234",
                "--regid=1234",
                "--clear-groups",
                "bash",
                "-c",
                &swap,
            ])
            .spawn()
            .expect("the owner's program can be started");
        let plan = manager.plan(&plan("cat key .git/x/key 2>&1 || true"));
        let source = format!("--source={directory}/{tree}");
        let mut command = manager.nixactions(&["run".as_ref(), plan.as_os_str(), source.as_ref()]);
        let output = command.output_within(RUN_DEADLINE);
        owner
            .kill()
            .and_then(|()| owner.wait().map(drop))
            .expect("it was started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{tree}: {output:?}");
        assert!(!said.contains("TOPSECRET"), "{tree}: {said}");
        let look = format!("test -L {directory}/{swapped}");
        manager.command(&["bash", "-ec", &look]).ok();
    }
}

fn another_users_link_leads_root_to_no_other_source(manager: &Manager) {
    make(
        manager,
        "astray",
        "mkdir secret own; echo TOPSECRET > secret/key; chmod 700 secret
        ln -s $PWD/secret own/link; mkdir own/tree; echo mine > own/tree/key; ln -s tree own/to-tree
        chown -h -R 1234:1234 own; chmod 755 .",
    );
    let plan = manager.plan(&plan("cat key"));
    for (link, starts) in [("link", false), ("to-tree", true)] {
        let source = format!("--source=astray/own/{link}");
        let mut command = manager.nixactions(&["run".as_ref(), plan.as_os_str(), source.as_ref()]);
        let output = command.output_within(RUN_DEADLINE);
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(
            output.status.code(),
            Some(if starts { 0 } else { 2 }),
            "{said}"
        );
        assert_eq!(said.contains("link of user 1234"), !starts, "{said}");
        assert_eq!(said.contains("hint: if you mean"), !starts, "{said}");
        assert!(!said.contains("TOPSECRET"), "{said}");
    }
}

fn a_parent_directory_is_a_source_without_a_link(manager: &Manager) {
    make(
        manager,
        "parents",
        "echo of-root > key; mkdir -p own/inner other; echo other > other/key; ln -s ../../other own/inner/link
        ln -s own/inner/link by-root
        chown -h -R 1234:1234 own; chmod 755 .",
    );
    let inner = manager.dir().join("parents/own/inner");
    let plan = manager.plan(&plan("cat key"));
    for (source, said) in [
        ("../..", Ok("of-root")),
        ("../../other", Ok("other")),
        ("link/..", Err("link of user 1234")),
        ("../inner/../inner/link", Err("link of user 1234")),
        ("../../by-root", Err("link of user 1234")),
    ] {
        let arguments = ["run", "--output=json", "--source", source];
        let mut command = manager.nixactions_in(&inner, &arguments);
        let output = command.arg(&plan).output_within(RUN_DEADLINE);
        match said {
            Ok(line) => {
                let run = manager.finished(&output).exits(0);
                assert_eq!(run.lines("j"), [line], "{source}: {run}");
            }
            Err(error) => {
                let told = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{source}: {told}");
                assert!(told.contains(error), "{source}: {told}");
            }
        }
    }
}

/// The tree, its repository, or a link in it leads to files of others.
fn root_shows_jobs_only_what_the_owner_of_a_tree_may_read(manager: &Manager) {
    make(
        manager,
        "others",
        r#"chmod 755 .; mkdir public; echo TOPSECRET > public/key; chmod 600 public/key
        mkdir public/below; echo TOPSECRET > public/below/key; chmod 700 public/below
        new shared; chmod 2775 shared; ln -s $PWD/public shared/.git/x
        mkdir place; echo TOPSECRET > place/root; echo TOPSECRET > place/other; chmod 600 place/*
        new linked; ln -s $PWD/place linked/.git/x; chown -hR 1234:1234 linked place
        chown root:root place/root; chown 1235:1235 place/other
        mkdir plain; new listed; for tree in plain listed; do
            echo TOPSECRET > $tree/root; mkdir $tree/below; echo TOPSECRET > $tree/below/key
            chown -hR 1234:1234 $tree; chown root:root $tree/root $tree/below; chmod 600 $tree/root; chmod 700 $tree/below
        done; chmod 755 listed/below; chown root:root listed/below/key; chmod 600 listed/below/key"#,
    );
    for (tree, told) in [
        ("shared", &["`.git/x/below`", "`.git/x/key`"][..]),
        ("linked", &["`.git/x/other`", "`.git/x/root`"]),
        ("plain", &["`below`", "`root`"]),
        ("listed", &["`below/key`", "`root`"]),
    ] {
        let script = "grep -r TOPSECRET . && exit 1; ls -A";
        let run = manager.run(&plan(script), &[format!("--source=others/{tree}")]);
        assert!(!run.lines("j").join(" ").contains("TOPSECRET"), "{run}");
        let run = run.exits(0);
        for path in told {
            assert!(run.stderr.contains(path), "{tree} {path}: {run}");
        }
    }
}

/// Files that only the owner or the group of a tree or of its repository may read belong to it,
/// whether it lies in a private place, in a linked worktree, or in a mount point of root.
fn private_files_of_the_owner_of_a_tree_are_in_its_copy(manager: &Manager) {
    make(
        manager,
        "owned",
        r#"chmod 755 .; mkdir private; chmod 700 private; umask 077; cd private; new own; echo key > own/key; cd ..
        new users; echo key > users/key; chown -R 1234:1234 users
        new group; echo key > group/key; chgrp -R 1234 group; chmod 750 group; chmod 640 group/key; chown 1235 group/key
        new mount; echo key > mount/key; chown -R 1234:1234 mount; chown root:root mount; chmod 755 mount
        new base; git -C base worktree add -q ../tree; echo key > tree/key
        new super; git -C super -c protocol.file.allow=always submodule add -q file://$PWD/base sub; echo key > super/key
        git -C super add sub; git -C super commit -qm super; chown -R 1234:1234 super"#,
    );
    for (tree, name) in [
        ("private/own", "own"),
        ("users", "users"),
        ("group", "group"),
        ("mount", "mount"),
        ("tree", "base"),
        ("super", "super"),
    ] {
        let script = "git log -1 --format=%s; git status --porcelain | grep -v '?? key' || true; git fsck; cat key; if [ -e sub ]; then git -C sub log --format=%s; fi";
        let run = manager
            .run(&plan(script), &[format!("--source=owned/{tree}")])
            .exits(0);
        let lines = run.lines("j");
        let mut lines: Vec<_> = lines
            .iter()
            .filter(|line| !line.contains("hecking"))
            .collect();
        if tree == "super" {
            assert_eq!(lines.pop(), Some(&"base"), "{run}");
        }
        assert_eq!(lines, [&name, &"key"], "{run}");
        assert!(!run.stderr.contains("left out"), "{run}");
    }
}

fn the_state_directory_is_no_part_of_the_source(manager: &Manager) {
    make(
        manager,
        "stated",
        "for tree in plain whole; do mkdir $tree; echo file > $tree/file; done; new repository; mkdir repository/sub; echo file > repository/file",
    );
    let plan = manager.plan(&plan("find . -path ./.git -prune -o -type f -print | sort"));
    for (tree, state, files) in [
        ("plain", "stated/plain/state", "./file"),
        ("whole", "stated/whole", "./file ./version"),
        (
            "repository",
            "stated/repository/sub/state",
            "./file ./repository.txt",
        ),
    ] {
        // The second run would also copy the first.
        for _ in 0..2 {
            let mut command = manager.nixactions(&[
                "run".as_ref(),
                plan.as_os_str(),
                format!("--source=stated/{tree}").as_ref(),
                format!("--state-dir={state}").as_ref(),
                "--output=json".as_ref(),
            ]);
            let output = command.output_within(RUN_DEADLINE);
            let finished = manager.finished(&output).exits(0);
            assert_eq!(finished.lines("j").join(" "), files, "{tree} {state}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("nixactions' own"), "{said}");
        }
    }
}
