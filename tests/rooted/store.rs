//! Root file systems and the Nix store: a root of nothing but the host's store, roots that lead
//! there, and roots with a store of their own.

use nixactions_harness::{CommandExt as _, Manager, on_managers};
use serde_json::json;

use super::{NONE, WAYS, is_unmounted, nothing_is_left, small_root};

on_managers!(an_empty_root_has_the_store on system_252, system_262);
on_managers!(a_root_of_links_into_the_store_has_its_users_and_hosts on system_252, system_257, system_262);
on_managers!(a_root_has_the_files_of_its_own_store_and_of_the_hosts on system_252, system_262);

/// A closure of the store with nothing else: all that it needs is below /nix/store.
fn an_empty_root_has_the_store(manager: &Manager) {
    // A static program, so that it needs no libraries outside of the store. A machine's own root is
    // an overlay, which has no id-mapped mounts.
    let make = "mkdir -p /nix/store; mount -t tmpfs -o mode=755 tmpfs /nix/store; mkdir -p /nix/store/a-tools/bin /nix/store/b-empty; cp /sbin/ldconfig /nix/store/a-tools/bin/";
    manager.command(&["sh", "-ec", make]).ok();
    let program = "/nix/store/a-tools/bin/ldconfig";
    let mut plan = json!({ "version": 1, "name": "empty",
        "executors": { "box": { "root": "/nix/store/b-empty" } },
        "jobs": { "j": { "executor": "box", "steps": [
            { "run": [program, "--version"] },
            { "run": [program, "-C", "/nix/store/x"], "continueOnError": true },
        ] } } });
    for kind in WAYS {
        plan["executors"]["box"]["type"] = json!(kind);
        let finished = manager.run(&plan, &NONE).exits(0);
        let lines = finished.lines("j");
        assert!(
            lines.iter().any(|line| line.contains("ldconfig")),
            "{kind}: {lines:?}"
        );
        // The store is read-only.
        assert_ne!(finished.job("j")["steps"][1]["exitCode"], 0, "{lines:?}");
        manager.command(&["test", "!", "-e", "/nix/store/x"]).ok();
        is_unmounted(manager);
    }
    plan["jobs"]["j"]["steps"] = json!([{ "bash": "true" }]);
    let path = manager.plan(&plan).display().to_string();
    let (code, said) = manager.refused(&["run", &path]);
    assert!(
        code == 2 && said.contains("neither /bin/bash nor /bin/sh"),
        "{said}"
    );
}

/// As Nix makes it of several packages: a directory of one package only is a link to it.
fn a_root_of_links_into_the_store_has_its_users_and_hosts(manager: &Manager) {
    let make = "store=/nix/store; mkdir -p $store $1; mount -t tmpfs -o mode=755 tmpfs $store; mount -t tmpfs -o mode=755 tmpfs $1
        mkdir -p $store/tools/bin $store/conf/etc $store/env; cd /
        for program in sh cat id; do
            cp -L /bin/$program $store/tools/bin/
            ldd /bin/$program | grep -o '/[^ ]*' | while read -r library; do mkdir -p $store/env${library%/*}; cp -L $library $store/env$library; done
        done
        echo root:x:0:0::/root:/bin/sh >$store/conf/etc/passwd; echo of-store >$store/conf/etc/mark
        ln -s $store/tools/bin $store/env/bin; ln -s $store/conf/etc $store/env/etc; cp -a $store/env $1/root
        cp -a $store/env $1/own; rm $1/own/bin $1/own/etc; ln -s $store/own/bin $1/own/bin; ln -s $store/own/etc $1/own/etc
        mkdir -p $1/own$store/own; cp -a $store/tools/bin $store/conf/etc $1/own$store/own/";
    let place = manager.dir().join("linked").display().to_string();
    manager
        .command(&["bash", "-euc", make, "make", &place])
        .ok();
    let [linked, own] = ["root", "own"].map(|name| format!("{place}/{name}"));
    for root in ["/nix/store/env", &linked, &own] {
        let plan = json!({ "version": 1, "name": "linked", "executors": { "box": { "type": "systemd", "root": root } },
            "jobs": { "j": { "executor": "box", "steps": [
                { "bash": "cat /etc/mark; id -un; while read -r line; do echo \"$line\"; done </etc/hosts; echo new >/etc/new; cat /etc/new" } ] } } });
        let finished = manager.run(&plan, &NONE).exits(0);
        let lines = finished.lines("j");
        assert_eq!((lines[0], lines[lines.len() - 1]), ("of-store", "new"));
        assert!(lines[1].starts_with("nixactions-"), "{finished}");
        assert!(lines.contains(&"127.0.0.1 localhost"), "{finished}");
        is_unmounted(manager);
    }
    let look = "cat /nix/store/conf/etc/passwd; ls /nix/store/conf/etc; umount /nix/store";
    let kept = manager.command(&["sh", "-ec", look]).ok();
    assert_eq!(kept, "root:x:0:0::/root:/bin/sh\nmark\npasswd\n");
}

/// The check says that such roots have a shell.
fn a_root_has_the_files_of_its_own_store_and_of_the_hosts(manager: &Manager) {
    let root = small_root(manager, "stored", "sh cat");
    let make = "mkdir -p /nix/store; mount -t tmpfs -o mode=755 tmpfs /nix/store
        mkdir -p /nix/store/host-sh/bin /nix/store/host-tools/bin; cp -L /bin/sh /nix/store/host-sh/bin/; cp /sbin/ldconfig /nix/store/host-tools/bin/
        cd $1/bin; rm sh; ln -s /nix/store/host-sh/bin/sh sh";
    manager.command(&["sh", "-ec", make, "make", &root]).ok();
    let own = "mkdir -p $1/nix/store/own-sh/bin; cp -L /bin/sh $1/nix/store/own-sh/bin/; rm $1/bin/sh; ln -s /nix/store/own-sh/bin/sh $1/bin/";
    let look = json!({ "bash": "cd /nix; for file in store/*; do echo ${file##*/}; done" });
    let tool = json!({ "run": ["/nix/store/host-tools/bin/ldconfig", "--version"] });
    for (makes, steps, expected) in [
        ("true", json!([look]), "host-sh host-tools"),
        (own, json!([look]), "own-sh"),
        ("true", json!([look, tool]), "host-sh host-tools own-sh"),
    ] {
        manager.command(&["sh", "-ec", makes, "make", &root]).ok();
        for way in WAYS {
            let plan = json!({ "version": 1, "name": "stored",
                "executors": { "box": { "type": way, "root": root } },
                "jobs": { "j": { "executor": "box", "steps": steps } } });
            let finished = manager.run(&plan, &NONE).exits(0);
            let lines = finished.lines("j");
            let names = lines.iter().filter(|line| line.starts_with(['h', 'o']));
            let names: Vec<_> = names.copied().collect();
            assert_eq!(names.join(" "), expected, "{way}: {lines:?}");
            nothing_is_left(manager);
        }
    }
}
