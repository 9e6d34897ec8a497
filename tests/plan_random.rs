//! Random input for the parser: it never panics, and what it accepts survives being written and
//! read again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path};

use nixactions::{graph::Graph, plan, report};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Parses, and holds whatever is accepted to what a good plan promises.
fn check(bytes: &[u8]) {
    match plan::parse(bytes) {
        Ok(good) => {
            let text = serde_json::to_vec(&good).unwrap();
            let again = plan::parse(&text)
                .unwrap_or_else(|faults| panic!("{faults}\nin {}", String::from_utf8_lossy(&text)));
            assert_eq!(good, again);
            let graph = Graph::new(&good).unwrap();
            plan::unsupported(&good);
            for text in [
                report::tree(&good, &graph),
                report::dot(&good, &graph),
                report::mermaid(&good, &graph),
                report::explain(&good, &graph),
            ] {
                assert!(!text.is_empty());
            }
        }
        Err(faults) => {
            assert!(faults.total() >= faults.shown().len() && !faults.shown().is_empty());
            assert!(!faults.to_string().is_empty());
            // The model must not refuse what the schema lets through: its words have no place in
            // the plan.
            assert!(
                faults
                    .shown()
                    .iter()
                    .all(|fault| fault.expected != "a plan"),
                "{faults}\nin {}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

fn fixtures() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("plan.json"));
    files
        .filter_map(|file| serde_json::from_slice(&fs::read(file).unwrap()).ok())
        .filter(Value::is_object)
        .collect()
}

/// Values that plans are made of, right and wrong ones.
fn any_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "a",
        "b",
        "build",
        "success()",
        "succes()",
        "test -f x",
        "/bin/true",
        "../x",
        "dist",
        ".",
        "systemd",
        "strict",
        "4G",
        "50%",
        "nspawn",
        "shared",
        "docker://docker.io/library/alpine",
        "CAP_SYS_ADMIN",
        "choice",
        "string",
        "a b",
        "\u{0}",
        "\n",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let keys = [
        "version",
        "name",
        "jobs",
        "steps",
        "needs",
        "run",
        "bash",
        "env",
        "envFrom",
        "passEnv",
        "inputs",
        "outputs",
        "executors",
        "executor",
        "type",
        "sandbox",
        "properties",
        "MemoryMax",
        "CPUQuota",
        "retry",
        "maxAttempts",
        "timeout",
        "matrix",
        "group",
        "values",
        "concurrency",
        "root",
        "image",
        "oci",
        "digest",
        "imageUser",
        "mode",
        "network",
        "bind",
        "source",
        "target",
        "capabilities",
        "executeJob",
        "condition",
        "path",
        "workdir",
        "default",
        "options",
        "required",
        "a",
        "b",
        "build",
        "x y",
    ];
    prop_oneof![4 => prop::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// Replaces, removes or adds a value somewhere below; `path` decides where.
fn mutate(value: &mut Value, path: &[prop::sample::Index], key: &str, new: &Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = new.clone();
        return;
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = first.index(items.len() + 1);
            if at == items.len() {
                items.push(new.clone())
            } else {
                mutate(&mut items[at], rest, key, new)
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let at = first.index(fields.len() + 2);
            let name = fields.keys().nth(at).cloned();
            match name {
                Some(name) if rest.is_empty() && new.is_null() => drop(fields.remove(&name)),
                Some(name) => mutate(fields.get_mut(&name).unwrap(), rest, key, new),
                None => drop(fields.insert(key.to_owned(), new.clone())),
            }
        }
        other => *other = new.clone(),
    }
}

/// Returns plans that are mostly good.
fn any_plan() -> impl Strategy<Value = Value> {
    let job = (
        prop::collection::vec(0_usize..6, 0..3),
        any::<bool>(),
        0_usize..3,
    );
    prop::collection::vec(job, 1..6).prop_map(|jobs| {
        let mut all = Map::new();
        for (n, (needs, output, env)) in jobs.iter().enumerate() {
            let mut needs: Vec<_> = needs.iter().filter(|need| **need < n).copied().collect();
            needs.sort_unstable();
            needs.dedup();
            let inputs: Vec<_> = needs.iter().filter(|need| jobs[**need].1).map(|need| format!("out{need}")).collect();
            let needs: Vec<_> = needs.iter().map(|need| format!("j{need}")).collect();
            let outputs = if *output { json!({ format!("out{n}"): format!("dir{n}") }) } else { json!({}) };
            let steps = json!([{ "name": format!("step of {n}"), "bash": "true", "env": { "A": env.to_string() }, "timeout": 5 }]);
            all.insert(format!("j{n}"), json!({ "needs": needs, "inputs": inputs, "outputs": outputs, "steps": steps, "timeout": null }));
        }
        json!({ "version": 1, "name": "random", "jobs": all })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_json_is_parsed_or_refused(value in any_value()) {
        check(value.to_string().as_bytes());
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn mutated_plans_are_parsed_or_refused(
        fixture in any::<prop::sample::Index>(),
        changes in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 1..8), any_key(), any_value()), 1..4),
    ) {
        let fixtures = fixtures();
        let mut plan = fixture.get(&fixtures).clone();
        for (path, key, new) in &changes {
            mutate(&mut plan, path, key, new);
        }
        check(plan.to_string().as_bytes());
    }

    #[test]
    fn cut_and_patched_text_is_parsed_or_refused(fixture in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), patch in ".{0,3}", skip in 0_usize..4) {
        let fixtures = fixtures();
        let text = fixture.get(&fixtures).to_string().into_bytes();
        let at = at.index(text.len());
        check(&[&text[..at], patch.as_bytes(), &text[(at + skip).min(text.len())..]].concat());
    }

    #[test]
    fn random_good_plans_are_accepted(plan in any_plan()) {
        let text = plan.to_string();
        if let Err(faults) = plan::parse(text.as_bytes()) {
            panic!("{faults}\nin {text}");
        }
        check(text.as_bytes());
    }
}
