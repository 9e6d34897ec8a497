//! The explanation of a plan that `check` prints.

use std::{collections::HashMap, fmt::Write as _};

use crate::{
    graph::{Graph, JobIx},
    plan::{
        Argv, Container, DEFAULT_EXECUTOR, Defaults, Job, Network, Plan, Retry, Sandbox, Seconds,
        Service, Setting, Shell,
    },
    unit::{self, DEFAULT_JOB_TIMEOUT, Placement},
};

/// The most names in a line.
const NAMES_MAX: usize = 8;

/// Returns the explanation of a valid plan, job by job in their order.
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
    let services = job.services.iter();
    let services: Vec<_> = services
        .map(|(name, service)| explain_service(name, service))
        .collect();
    let shown: Vec<_> = services.iter().map(String::as_str).collect();
    lines.list("services", &shown);
    let Defaults { shell, .. } = plan.defaults_of(job);
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
            let shell = step.script().and(step.shell.as_ref().or(shell.as_ref()));
            let remarks: Vec<_> = step
                .condition
                .as_deref()
                .map(|condition| format!("if {}", one_line(condition)))
                .into_iter()
                .chain(shell.and_then(shell_name))
                .chain(bound)
                .chain(step.post.is_some().then(|| "cleans up".to_owned()))
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
        .chain(job.steps.iter().flat_map(|step| {
            let of_post = step.post.iter().flat_map(|post| post.env.keys());
            step.env.keys().chain(of_post)
        }))
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
            &format!("{} (the default)", span(DEFAULT_JOB_TIMEOUT.as_secs_f64())),
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
            .unwrap_or("no job");
        lines.line(
            "takes",
            &format!("{} of {source}, to {}", input.name, input.path),
        );
    }
    for (artifact, path) in &job.outputs {
        let to = takers
            .get(artifact.as_str())
            .map_or("no job".to_owned(), |takers| some_of(takers));
        lines.line("gives", &format!("{artifact} from {path}, to {to}"));
    }
}

/// Lines of the form `name  value` below each other.
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

/// Returns the root file system of jobs and their network, each after a comma.
fn container(container: Container<'_>) -> String {
    let root = match (container.root, container.image) {
        (Some(root), _) => format!(", {}", root.display()),
        (None, Some(image)) => format!(", {}", image.oci),
        (None, None) => String::new(),
    };
    let network = match container.network {
        Network::Host => "the host's network",
        Network::Private => "no network",
        Network::Veth => "a link to the host's network",
    };
    format!("{root}, {network}")
}

/// Returns a service in one line: its name, what it runs, and its ports.
fn explain_service(name: &str, service: &Service) -> String {
    let from = match (&service.image, &service.root) {
        (Some(image), _) => format!("image {}", image.oci),
        (None, Some(root)) => format!("root {}", root.display()),
        (None, None) => service.run.first().cloned().unwrap_or_default(),
    };
    let ports = service.ports.iter().map(|port| port.0.to_string());
    let ports: Vec<_> = ports.collect();
    let at = if ports.is_empty() {
        String::new()
    } else {
        format!(", port {}", ports.join(" and "))
    };
    format!("{name} ({from}{at})")
}

fn executor(plan: &Plan, job: &Job) -> String {
    let name = job.executor.as_deref().unwrap_or(DEFAULT_EXECUTOR);
    let place = Placement::of(plan, job);
    let kind = match place {
        Placement::Host(host) => format!("systemd, sandbox {}", level(host.sandbox)),
        Placement::Root(root) => format!(
            "systemd, sandbox {}{}",
            level(root.sandbox),
            container(root.container)
        ),
        Placement::Nspawn(nspawn) => {
            format!("nspawn{}", container(nspawn.container))
        }
        Placement::Hooks(_) => "hooks".to_owned(),
    };
    let mut set: Vec<_> = place
        .properties()
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

fn level(sandbox: Sandbox) -> &'static str {
    match sandbox {
        Sandbox::Strict => "strict",
        Sandbox::Relaxed => "relaxed",
        Sandbox::None => "none",
    }
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

/// Returns the layer of each job: the number of jobs before it on its longest chain.
pub(super) fn layers(graph: &Graph) -> Vec<u32> {
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

pub(super) fn other_than_success<'a>(plan: &'a Plan, graph: &Graph, job: JobIx) -> Option<&'a str> {
    let condition = plan.jobs.get(graph.name(job))?.condition.as_deref()?.trim();
    (condition != "success()").then_some(condition)
}

pub(super) fn some_of(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    if names.len() > NAMES_MAX {
        format!("{shown} and {} more", names.len() - NAMES_MAX)
    } else {
        shown
    }
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Returns a text on one line. Escapes control characters and cuts the text after 60 characters.
pub(super) fn one_line(text: &str) -> String {
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

/// Returns a time in the form `1h 30min`.
pub(super) fn span(time: impl Into<f64>) -> String {
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

/// Names the shell of a script that is not for bash.
fn shell_name(shell: &Shell) -> Option<String> {
    Some(format!("by {}", shell.argv()?.first()?))
}
