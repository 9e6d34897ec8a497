//! A plan's graph for people and programs: a text tree, Graphviz, Mermaid, and the explanation that
//! `check` prints.
//!
//! Knows nothing of runs: what is drawn is what the plan says.

use std::{collections::HashMap, fmt::Write as _};

use crate::{
    graph::{Graph, JobIx},
    plan::{
        Argv, DEFAULT_EXECUTOR, Executor, Job, Network, Plan, Retry, Sandbox, Seconds, Setting,
    },
    unit::{self, DEFAULT_JOB_TIMEOUT},
};

/// How deep the tree is indented before it goes on at the margin.
const DEPTH_MAX: usize = 24;
/// How many names a line lists.
const NAMES_MAX: usize = 8;

/// Returns the jobs as a tree: each job once, below the need that is deepest in the graph; its
/// other needs stand behind it.
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
    // Subtrees that are too deep to be indented go on at the margin, after all others.
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

/// Returns the graph in Graphviz' language. Edges to jobs that also run after a failure are dashed.
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

/// Returns the graph in Mermaid's language. Edges to jobs that also run after a failure are dotted.
pub fn mermaid(plan: &Plan, graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for job in graph.jobs() {
        // Nodes are numbered, as words such as `end` are no names there.
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

/// Returns what a good plan will do, job by job in their order.
pub fn explain(plan: &Plan, graph: &Graph) -> String {
    let mut text = String::new();
    let layers = layers(graph);
    let steps = plan.jobs.values().map(|job| job.steps.len()).sum();
    let (jobs, needs, steps) = (
        counted(graph.len(), "job"),
        counted(graph.edges(), "need"),
        counted(steps, "step"),
    );
    let _ = writeln!(text, "workflow {}: {jobs}, {needs}, {steps}", plan.name);
    let mut head = Lines {
        text: &mut text,
        indent: "  ",
    };
    head.line("longest chain", &longest_chain(graph, &layers));
    head.line("widest layer", &widest_layer(graph, &layers));
    head.line(
        "at once",
        &plan
            .max_parallel
            .map_or("as many jobs as there are CPUs".to_owned(), |most| {
                format!("at most {}", counted(most as usize, "job"))
            }),
    );
    head.line("timeout", &timeout(plan.timeout, "none"));
    head.opt("retry", retry(plan.retry));
    head.opt(
        "concurrency",
        plan.concurrency.as_ref().map(|concurrency| {
            let newer = if concurrency.cancel_in_progress {
                "cancels the running one"
            } else {
                "waits"
            };
            format!("group {}, a newer run {newer}", concurrency.group)
        }),
    );
    head.list(
        "inputs",
        &plan.inputs.keys().map(String::as_str).collect::<Vec<_>>(),
    );
    head.list(
        "env",
        &plan.env.keys().map(String::as_str).collect::<Vec<_>>(),
    );
    head.list("env from", &providers(&plan.env_from));
    head.list(
        "from the caller",
        &plan.pass_env.iter().map(String::as_str).collect::<Vec<_>>(),
    );

    let takers = takers(plan);
    let sources: HashMap<&str, &str> = plan
        .jobs
        .iter()
        .flat_map(|(name, job)| {
            job.outputs
                .keys()
                .map(move |artifact| (artifact.as_str(), name.as_str()))
        })
        .collect();
    for ix in graph.jobs() {
        let name = graph.name(ix);
        let Some(job) = plan.jobs.get(name) else {
            continue;
        };
        let _ = writeln!(text, "\n{}. {name}", ix.index() + 1);
        explain_job(
            plan,
            graph,
            ix,
            job,
            &takers,
            &sources,
            &mut Lines {
                text: &mut text,
                indent: "   ",
            },
        );
    }
    text
}

fn explain_job(
    plan: &Plan,
    graph: &Graph,
    ix: JobIx,
    job: &Job,
    takers: &HashMap<&str, Vec<&str>>,
    sources: &HashMap<&str, &str>,
    lines: &mut Lines<'_>,
) {
    lines.line("executor", &executor(plan, job));
    lines.list(
        "needs",
        &graph
            .needs(ix)
            .iter()
            .map(|need| graph.name(*need).as_str())
            .collect::<Vec<_>>(),
    );
    lines.opt("condition", job.condition.as_deref().map(one_line));
    lines.opt(
        "on failure",
        job.continue_on_error
            .then(|| "counts as success".to_owned()),
    );
    let steps: Vec<_> = job
        .steps
        .iter()
        .enumerate()
        .map(|(i, step)| {
            let mut text = one_line(&unit::step_name(i, step));
            let bound = if let Setting::Value(bound) = step.timeout {
                Some(format!("at most {}", span(bound)))
            } else {
                None
            };
            let remarks: Vec<_> = step
                .condition
                .as_deref()
                .map(|condition| format!("if {}", one_line(condition)))
                .into_iter()
                .chain(bound)
                .collect();
            if !remarks.is_empty() {
                let _ = write!(text, " ({})", remarks.join(", "));
            }
            text
        })
        .collect();
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    lines.line("steps", &format!("{}: {}", steps.len(), some_of(&steps)));
    let mut env: Vec<_> = job
        .env
        .keys()
        .chain(job.steps.iter().flat_map(|step| step.env.keys()))
        .map(String::as_str)
        .collect();
    env.sort_unstable();
    env.dedup();
    lines.list("env", &env);
    let mut from = providers(&job.env_from);
    job.steps
        .iter()
        .for_each(|step| from.extend(providers(&step.env_from)));
    lines.list("env from", &from);
    lines.line(
        "timeout",
        &timeout(
            job.timeout,
            &format!(
                "{}, as none is set",
                span(DEFAULT_JOB_TIMEOUT.as_secs_f64())
            ),
        ),
    );
    lines.opt("retry", retry(job.retry));
    lines.opt(
        "matrix",
        job.matrix.as_ref().map(|matrix| {
            let values: Vec<_> = matrix
                .values
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{} {}", matrix.group, values.join(" "))
                .trim_end()
                .to_owned()
        }),
    );
    for input in &job.inputs {
        let source = sources
            .get(input.name.as_str())
            .copied()
            .unwrap_or("nobody");
        lines.line(
            "takes",
            &format!("{} of {source}, to {}", input.name, input.path),
        );
    }
    for (artifact, path) in &job.outputs {
        let to = takers
            .get(artifact.as_str())
            .map_or("nobody".to_owned(), |takers| some_of(takers));
        lines.line("gives", &format!("{artifact} from {path}, to {to}"));
    }
}

/// Lines of the form `name  value`, one below the other.
struct Lines<'a> {
    text: &'a mut String,
    indent: &'static str,
}

impl Lines<'_> {
    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "{}{name:<15} {value}", self.indent);
    }

    fn opt(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.line(name, &value);
        }
    }

    fn list(&mut self, name: &str, values: &[&str]) {
        if !values.is_empty() {
            self.line(name, &some_of(values));
        }
    }
}

fn executor(plan: &Plan, job: &Job) -> String {
    let name = job.executor.as_deref().unwrap_or(DEFAULT_EXECUTOR);
    let default = Executor::default();
    let (kind, properties) = match plan.executors.get(name).unwrap_or(&default) {
        Executor::Systemd {
            sandbox,
            properties,
            ..
        } => {
            let level = match sandbox {
                Sandbox::Strict => "strict",
                Sandbox::Relaxed => "relaxed",
                Sandbox::None => "none",
            };
            (format!("systemd, sandbox {level}"), Some(properties))
        }
        Executor::Nspawn {
            root,
            network,
            properties,
            ..
        } => {
            let network = match network {
                Network::Host => "the host's network",
                Network::Private => "no network",
            };
            (
                format!("nspawn, {}, {network}", root.display()),
                Some(properties),
            )
        }
        Executor::Hooks { .. } => ("hooks".to_owned(), None),
    };
    let mut set: Vec<_> = properties
        .into_iter()
        .flatten()
        .filter(|(name, _)| !job.properties.contains_key(*name))
        .chain(&job.properties)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    set.sort_unstable();
    let set: String = set.iter().map(|property| format!(", {property}")).collect();
    format!("{name} ({kind}{set})")
}

fn takers(plan: &Plan) -> HashMap<&str, Vec<&str>> {
    let mut takers: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, job) in &plan.jobs {
        for input in &job.inputs {
            let names = takers.entry(&input.name).or_default();
            if names.last() != Some(&name.as_str()) {
                names.push(name.as_str());
            }
        }
    }
    takers
}

fn providers(providers: &[Argv]) -> Vec<&str> {
    providers
        .iter()
        .filter_map(|argv| argv.first())
        .map(String::as_str)
        .collect()
}

/// Returns the layer of each job: how many jobs stand before it on its longest chain.
fn layers(graph: &Graph) -> Vec<u32> {
    let mut layers: Vec<u32> = Vec::with_capacity(graph.len());
    for job in graph.jobs() {
        let layer = graph
            .needs(job)
            .iter()
            .map(|need| layers[need.index()] + 1)
            .max()
            .unwrap_or(0);
        layers.push(layer);
    }
    layers
}

fn longest_chain(graph: &Graph, layers: &[u32]) -> String {
    let Some(mut job) = graph.jobs().rev().max_by_key(|job| layers[job.index()]) else {
        return "no job".to_owned();
    };
    let mut chain = vec![graph.name(job).as_str()];
    while let Some(need) = graph
        .needs(job)
        .iter()
        .find(|need| layers[need.index()] + 1 == layers[job.index()])
    {
        job = *need;
        chain.push(graph.name(job).as_str());
    }
    chain.reverse();
    let shown = if chain.len() <= NAMES_MAX {
        chain.join(" -> ")
    } else {
        format!(
            "{} -> … -> {}",
            chain[..NAMES_MAX / 2].join(" -> "),
            chain[chain.len() - NAMES_MAX / 2..].join(" -> ")
        )
    };
    format!("{}: {shown}", counted(chain.len(), "job"))
}

fn widest_layer(graph: &Graph, layers: &[u32]) -> String {
    let mut widths = vec![0_usize; layers.iter().max().map_or(0, |most| *most as usize + 1)];
    layers.iter().for_each(|layer| widths[*layer as usize] += 1);
    let Some(widest) = (0..widths.len()).rev().max_by_key(|layer| widths[*layer]) else {
        return "no job".to_owned();
    };
    let names: Vec<_> = graph
        .jobs()
        .filter(|job| layers[job.index()] as usize == widest)
        .map(|job| graph.name(job).as_str())
        .collect();
    format!("{}: {}", counted(names.len(), "job"), some_of(&names))
}

fn other_than_success<'a>(plan: &'a Plan, graph: &Graph, job: JobIx) -> Option<&'a str> {
    let condition = plan.jobs.get(graph.name(job))?.condition.as_deref()?.trim();
    (condition != "success()").then_some(condition)
}

fn some_of(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    if names.len() > NAMES_MAX {
        format!("{shown} and {} more", names.len() - NAMES_MAX)
    } else {
        shown
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Returns a text on one line, control characters escaped, cut after 60 characters.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .trim()
        .chars()
        .take(60)
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect();
    if text.trim().chars().count() > 60 {
        line.push('…');
    }
    line
}

fn timeout(timeout: Setting<Seconds>, inherited: &str) -> String {
    match timeout {
        Setting::Inherit => inherited.to_owned(),
        Setting::Off => "none".to_owned(),
        Setting::Value(bound) => span(bound),
    }
}

fn retry(retry: Setting<Retry>) -> Option<String> {
    match retry {
        Setting::Inherit => None,
        Setting::Off => Some("none".to_owned()),
        Setting::Value(retry) => Some(format!(
            "at most {}, waits from {} to {}",
            counted(retry.max_attempts as usize, "attempt"),
            span(retry.min_time),
            span(retry.max_time)
        )),
    }
}

/// Returns a time as people write it: `1h 30min`.
fn span(time: impl Into<f64>) -> String {
    let seconds = time.into();
    let whole = seconds as u64;
    if seconds < 60.0 || seconds.fract() != 0.0 {
        return format!("{seconds}s");
    }
    let units = [
        (whole / 3600, "h"),
        (whole / 60 % 60, "min"),
        (whole % 60, "s"),
    ];
    units
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_long_chain_does_not_run_out_of_the_page() {
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
    fn times_are_written_as_people_do() {
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
