//! Any bytes as a plan: the parser never panics, and what it accepts survives being written and
//! read again.
//!
//! `cargo +nightly fuzz run plan fuzz/corpus/plan tests/plan` starts from the fixtures.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nixactions::{graph::Graph, plan, report};

fuzz_target!(|bytes: &[u8]| {
    match plan::parse(bytes) {
        Err(faults) => assert!(!faults.to_string().is_empty()),
        Ok(good) => {
            let text = serde_json::to_vec(&good).expect("a plan is JSON");
            let again = plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(good, again);
            let graph = Graph::new(&good).expect("a good plan has a graph");
            plan::unsupported(&good);
            report::tree(&good, &graph);
            report::dot(&good, &graph);
            report::mermaid(&good, &graph);
            report::explain(&good, &graph);
        }
    }
});
