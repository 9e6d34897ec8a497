//! Jobs that have the user of their image.

use nixactions_harness::{CommandExt as _, Manager, bash, on_managers, with};
use serde_json::{Value, json};

use super::{NONE, Place, architecture, plan};

on_managers!(with_image_user_a_job_stands_for_the_images_user on embedded, system_252, system_257, system_262);
on_managers!(with_an_image_user_of_root_a_job_is_root_of_a_container on embedded, system_252, system_257, system_262);
on_managers!(an_image_user_of_root_that_cannot_be_had_is_refused on system_252, system_262);

fn with_image_user_a_job_stands_for_the_images_user(manager: &Manager) {
    let place = Place::new(manager);
    let (path, _) = place.image();
    let script = "echo pwd=$PWD; echo user=$(id -un) group=$(id -gn) variable=$USER; echo more >>/srv/web; cat /srv/web
        if echo more 2>/dev/null >>/srv/root; then exit 9; fi; if echo x 2>/dev/null >/new; then exit 8; fi
        echo here >$NIXACTIONS_WORKSPACE/file; cat $NIXACTIONS_WORKSPACE/file; [ $HOME = /run/nixactions/job/work/home ]";
    let mut job = bash(script);
    let step = json!({ "bash": "[ $PWD = $NIXACTIONS_WORKSPACE ]", "workdir": "." });
    job["steps"]
        .as_array_mut()
        .expect("it has steps")
        .push(step);
    for kind in ["systemd", "nspawn"] {
        let executor = json!({ "type": kind, "image": { "oci": path }, "imageUser": true });
        let plan = plan(executor, json!({ "j": job }));
        let finished = manager.run(&plan, &NONE).exits(0);
        assert_eq!(finished.value("j", "pwd"), "/srv");
        let user = finished.value("j", "user");
        assert!(user.starts_with("web group=www variable="), "{user}");
        // Under a plain unit, the job's own user stands for that of the image.
        assert_eq!(user.ends_with("=web"), kind == "nspawn", "{user}");
        let lines = finished.lines("j");
        assert!(
            lines.contains(&"of-web") && lines.contains(&"here"),
            "{kind}: {lines:?}"
        );
        finished.leaves_nothing(manager);
    }
}

fn with_an_image_user_of_root_a_job_is_root_of_a_container(manager: &Manager) {
    let place = Place::new(manager);
    let root = place.root();
    let script = "echo \"user=$(id -un) variable=$USER pwd=$PWD map=$(echo $(cat /proc/self/uid_map))\"; stat -c 'owner=%u:%g' web
        stat -c 'root=%u' root; chown 999:998 root; stat -c 'given=%u:%g' root; cat root; echo new >root; echo here >$NIXACTIONS_WORKSPACE/file; cat $NIXACTIONS_WORKSPACE/file";
    for (name, user) in [("empty", ""), ("zero", "0:0"), ("name", "root")] {
        let (path, _) = place.layout_of(name, &root, architecture(), user);
        for mode in ["isolated", "shared"] {
            let executor = json!({ "image": { "oci": path }, "imageUser": true, "mode": mode, "network": "private" });
            let plan = plan(executor, json!({ "j": bash(script) }));
            let finished = manager.run(&plan, &NONE).exits(0);
            let lines = finished.lines("j");
            let first: Vec<_> = lines[0].split_whitespace().collect();
            assert_eq!(first[..3], ["user=root", "variable=root", "pwd=/srv"]);
            assert!(first[3] == "map=0" && first[5] == "65536", "{first:?}");
            let range: u32 = first[4].parse().expect("it is an id");
            assert!((0x6000_0000..0x7000_0000).contains(&range), "{range}");
            let expected = [
                "owner=999:998",
                "root=0",
                "given=999:998",
                "of-root",
                "here",
            ];
            assert_eq!(lines[1..], expected, "{name} {mode}");
            finished.leaves_nothing(manager);
        }
    }
}

fn an_image_user_of_root_that_cannot_be_had_is_refused(manager: &Manager) {
    let place = Place::new(manager);
    let (path, _) = place.layout_of("layout", &place.root(), architecture(), "");
    let refused = |more: Value, service: Value, named: &str, expected: &str| {
        let executor = json!({ "image": { "oci": path }, "imageUser": true });
        let mut job = bash("true");
        if service != Value::Null {
            let of_image = json!({ "image": { "oci": path }, "run": ["sleep", "9"] });
            job["services"] = json!({ "db": with(of_image, service) });
        }
        let mut plan = plan(with(executor, more), json!({ "j": job }));
        if named.starts_with("service") {
            plan["executors"] = json!({});
            plan["jobs"]["j"]["executor"] = Value::Null;
        }
        let path = manager.plan(&plan).display().to_string();
        let (code, said) = manager.refused(&["run", &path]);
        assert!(code == 2 || code == 3, "{said}");
        assert!(
            said.contains(named) && said.contains(expected),
            "{expected}: {said}"
        );
        assert!(manager.runs().is_empty(), "nothing was started");
    };
    let properties = json!({ "properties": { "ProtectHome": "yes", "MemoryMax": "1G" } });
    let no_effect = "`ProtectHome` has no effect there: the image's user is root";
    let (job, service) = ("executor `box`", "service `db` of job `j`");
    refused(properties.clone(), Value::Null, job, no_effect);
    refused(json!({}), properties, service, no_effect);
    let program = "/usr/bin/systemd-nspawn";
    manager
        .command(&["mv", program, "/usr/bin/nspawn.away"])
        .ok();
    let missing = "the program `systemd-nspawn` is not installed, and the image's user is root";
    refused(json!({}), Value::Null, job, missing);
    refused(json!({}), json!({}), service, missing);
}
