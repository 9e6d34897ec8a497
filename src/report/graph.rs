//! A plan's graph for people and programs: a text tree, Graphviz, Mermaid, and the explanation that
//! `check` prints.
//!
//! Knows nothing of runs: it draws only the plan.

mod explain;

use std::fmt::Write as _;

use crate::{
    graph::{Graph, JobIx},
    plan::Plan,
};
pub use explain::explain;
use explain::{counted, layers, one_line, other_than_success, some_of};

/// The deepest indentation of the tree. Deeper subtrees go on at the margin.
const DEPTH_MAX: usize = 24;

/// Returns the jobs as a tree. Each job stands once, below the need that is deepest in the graph.
/// The job's other needs stand behind its name.
pub fn tree(plan: &Plan, graph: &Graph) -> String {
    let layers = layers(graph);
    let mut children: Vec<Vec<JobIx>> = vec![Vec::new(); graph.len()];
    let mut roots = Vec::new();
    for job in graph.jobs() {
        match graph
            .needs(job)
            .iter()
            .max_by_key(|need| (layers[need.index()], **need))
        {
            Some(parent) => children[parent.index()].push(job),
            None => roots.push((job, None)),
        }
    }
    let mut text = format!(
        "{}: {}, {}\n",
        plan.name,
        counted(graph.len(), "job"),
        counted(graph.edges(), "need")
    );
    // Subtrees that are too deep go on at the margin, after all others.
    let mut next = 0;
    while let Some((root, after)) = roots.get(next).copied() {
        next += 1;
        let mut stack = vec![(root, after, String::new(), String::new())];
        while let Some((job, parent, own, below)) = stack.pop() {
            text.push_str(&own);
            text.push_str(graph.name(job).as_str());
            let mut others = graph
                .needs(job)
                .iter()
                .filter(|need| Some(**need) != parent || own.is_empty())
                .peekable();
            if others.peek().is_some() {
                let names: Vec<_> = others.map(|need| graph.name(*need).as_str()).collect();
                let verb = if own.is_empty() {
                    "after"
                } else {
                    "also after"
                };
                let _ = write!(text, "  ({verb} {})", some_of(&names));
            }
            if let Some(condition) = other_than_success(plan, graph, job) {
                let _ = write!(text, "  if {}", one_line(condition));
            }
            text.push('\n');
            let below_job = &children[job.index()];
            if below.chars().count() / 4 >= DEPTH_MAX {
                roots.extend(below_job.iter().map(|child| (*child, Some(job))));
                continue;
            }
            for (i, child) in below_job.iter().enumerate().rev() {
                let (branch, trunk) = if i + 1 == below_job.len() {
                    ("└── ", "    ")
                } else {
                    ("├── ", "│   ")
                };
                stack.push((
                    *child,
                    Some(job),
                    format!("{below}{branch}"),
                    format!("{below}{trunk}"),
                ));
            }
        }
    }
    text
}

/// Returns the graph in Graphviz's language. x dashed.
pub fn dot(plan: &Plan, graph: &Graph) -> String {
    let mut text = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n",
        dot_quoted(plan.name.as_str())
    );
    for job in graph.jobs() {
        let name = graph.name(job).as_str();
        let label = label(plan, graph, job, name);
        let _ = writeln!(
            text,
            "  {} [label={}];",
            dot_quoted(name),
            dot_quoted(&label)
        );
    }
    for job in graph.jobs() {
        let style = if other_than_success(plan, graph, job).is_some() {
            " [style=dashed]"
        } else {
            ""
        };
        for need in graph.needs(job) {
            let (need, job) = (
                dot_quoted(graph.name(*need).as_str()),
                dot_quoted(graph.name(job).as_str()),
            );
            let _ = writeln!(text, "  {need} -> {job}{style};");
        }
    }
    text.push_str("}\n");
    text
}

/// Returns the graph in Mermaid's language. The edges to jobs with a condition other
/// than `success()` are dotted.
pub fn mermaid(plan: &Plan, graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for job in graph.jobs() {
        // Number the nodes: Mermaid does not accept words such as `end` as names.
        let _ = writeln!(
            text,
            "  j{job}[{}]",
            mermaid_quoted(&label(plan, graph, job, graph.name(job).as_str()))
        );
    }
    for job in graph.jobs() {
        let arrow = if other_than_success(plan, graph, job).is_some() {
            "-.->"
        } else {
            "-->"
        };
        for need in graph.needs(job) {
            let _ = writeln!(text, "  j{need} {arrow} j{job}");
        }
    }
    text
}

fn label(plan: &Plan, graph: &Graph, job: JobIx, name: &str) -> String {
    other_than_success(plan, graph, job).map_or_else(
        || name.to_owned(),
        |condition| format!("{name}\nif {condition}"),
    )
}

fn dot_quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

fn mermaid_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("<br/>"),
            '"' | '#' | '&' | '<' | '>' | '`' | ';' | '\\' | '[' | ']' | '{' | '}' => {
                _ = write!(quoted, "#{};", c as u32)
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::{explain::span, *};

    fn plan() -> (Plan, Graph) {
        let text = include_str!("../../tests/plan/001-good-plan-of-the-documentation/plan.json");
        from(text)
    }

    fn from(text: &str) -> (Plan, Graph) {
        let plan = crate::plan::parse(text.as_bytes()).unwrap();
        let graph = Graph::new(&plan).unwrap();
        (plan, graph)
    }

    fn diamond() -> (Plan, Graph) {
        from(
            r#"{ "version": 1, "name": "d", "jobs": {
                "end": { "needs": ["left", "right"], "condition": "always()", "steps": [{ "bash": "x" }] },
                "left": { "needs": ["top"], "steps": [{ "bash": "x" }] },
                "right": { "needs": ["top"], "steps": [{ "bash": "x" }] },
                "alone": { "condition": "[ \"$A\" = \"<b> # `c`\" ]\ntrue \\", "steps": [{ "bash": "x" }] },
                "top": { "steps": [{ "bash": "x" }] } } }"#,
        )
    }

    #[test]
    fn tree_shows_each_job_once() {
        let (plan, graph) = diamond();
        let expected = "d: 5 jobs, 4 needs\n\
            alone  if [ \"$A\" = \"<b> # `c`\" ]\\ntrue \\\n\
            top\n├── left\n└── right\n    └── end  (also after left)  if always()\n";
        assert_eq!(tree(&plan, &graph), expected);
    }

    #[test]
    fn a_long_chain_goes_on_at_the_margin() {
        let jobs: Vec<_> = (0..3000)
            .map(|n| {
                let needs = if n == 0 {
                    String::new()
                } else {
                    format!("\"j{}\"", n - 1)
                };
                format!(r#""j{n}": {{ "needs": [{needs}], "steps": [{{ "bash": "x" }}] }}"#)
            })
            .collect();
        let (plan, graph) = from(&format!(
            r#"{{ "version": 1, "name": "c", "jobs": {{ {} }} }}"#,
            jobs.join(",")
        ));
        let text = tree(&plan, &graph);
        assert_eq!(text.lines().count(), 3001);
        assert!(text.lines().all(|line| line.chars().count() < 150));
        assert!(text.contains("\nj25  (after j24)\n"), "{text}");
        assert!(
            explain(&plan, &graph).contains(
                "3000 jobs: j0 -> j1 -> j2 -> j3 -> … -> j2996 -> j2997 -> j2998 -> j2999"
            )
        );
    }

    #[test]
    fn dot_quotes_every_text() {
        let (plan, graph) = diamond();
        let text = dot(&plan, &graph);
        assert!(
            text.contains(
                r##"  "alone" [label="alone\nif [ \"$A\" = \"<b> # `c`\" ]\ntrue \\"];"##
            ),
            "{text}"
        );
        assert!(
            text.contains("  \"top\" -> \"left\";\n")
                && text.contains("  \"left\" -> \"end\" [style=dashed];\n")
        );
    }

    #[test]
    fn mermaid_escapes_every_text() {
        let (plan, graph) = diamond();
        let text = mermaid(&plan, &graph);
        assert!(text.contains("  j0[\"alone<br/>if #91; #34;$A#34; = #34;#60;b#62; #35; #96;c#96;#34; #93;<br/>true #92;\"]\n"), "{text}");
        assert!(
            text.contains("  j1 --> j2\n") && text.ends_with("  j2 -.-> j4\n  j3 -.-> j4\n"),
            "{text}"
        );
    }

    #[test]
    fn explanation_of_the_documented_plan() {
        let (plan, graph) = plan();
        insta::assert_snapshot!(explain(&plan, &graph));
    }

    #[test]
    fn times_are_written_in_hours_minutes_and_seconds() {
        for (seconds, text) in [
            (0.5, "0.5s"),
            (59.0, "59s"),
            (60.0, "1min"),
            (3600.0, "1h"),
            (5430.0, "1h 30min 30s"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
