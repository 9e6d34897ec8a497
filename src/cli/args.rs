//! The command line as clap(3) parses it. Help texts, completions and manual pages are generated
//! from here.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// CI workflows as systemd units: PID 1 runs the DAG.
#[derive(Debug, Parser)]
#[command(name = "nixactions", version, arg_required_else_help = true, after_help = EXAMPLES, after_long_help = EXAMPLES_LONG)]
pub struct Cli {
    /// Where runs are kept [default: /var/lib/nixactions for root, else $XDG_STATE_HOME/nixactions
    /// or ~/.local/state/nixactions]
    #[arg(long, global = true, value_name = "DIR", env = "NIXACTIONS_STATE_DIR", hide_env_values = true, value_hint = ValueHint::DirPath)]
    pub state_dir: Option<PathBuf>,

    /// The runs of the machine, in /var/lib/nixactions. Operators of the machine's workflows need
    /// no root for `list`, `show`, `logs`, `attach`, `cancel` and `rerun`
    #[arg(long, global = true)]
    pub system: bool,

    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  nixactions check .#ci              list the faults of a workflow; build and start nothing
  nixactions run .#ci                build a workflow, run it, show its output
  nixactions run plan.json           run a plan
  nixactions logs ci-42 build        show the lines that a job printed
  systemctl status nixactions-ci-42  watch a run like any other unit";

const EXAMPLES_LONG: &str = "\
Examples:
  nixactions check .#ci              list the faults of a workflow; build and start nothing
  nixactions run .#ci                build a workflow, run it, show its output
  nixactions run plan.json           run a plan
  nixactions logs ci-42 build        show the lines that a job printed
  systemctl status nixactions-ci-42  watch a run like any other unit

Exit status of run, rerun and attach:
  0    the workflow succeeded
  1    the workflow failed
  2    bad usage, a bad plan, or a workflow that Nix cannot evaluate or build; nothing was started
  3    trouble with systemd or with files
  130  the workflow was cancelled
The other commands exit with 0, 2 or 3.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow and follow it to its end
    Run(Box<RunArgs>),
    /// Run a run again, or only its failed jobs
    Rerun(RerunArgs),
    /// List the faults of a workflow, or describe what it would do; start nothing
    Check(CheckArgs),
    /// Draw a workflow's jobs and their needs
    Graph(GraphArgs),
    /// List runs, the newest first
    #[command(
        after_help = "Examples:\n  nixactions list\n  nixactions list --json | jq -r '.[] | select(.state == \"failure\") | .run'"
    )]
    List(ListArgs),
    /// Show a run: its jobs, steps and reasons
    #[command(
        after_help = "Examples:\n  nixactions show ci-42\n  nixactions show ci-42 --json | jq '.jobs.build.usage'"
    )]
    Show(ShowArgs),
    /// Show the output of a run's jobs
    #[command(
        after_help = "Examples:\n  nixactions logs ci-42\n  nixactions logs ci-42 build -f\n\nThe same with systemd's own tool:\n  \
                            journalctl NIXACTIONS_RUN=ci-42 NIXACTIONS_JOB=build\nA run of an embedded manager has a journal of its own:\n  \
                            journalctl -D <state dir>/runs/ci-42/journal"
    )]
    Logs(LogsArgs),
    /// Follow a run until it ends; Ctrl-C does not end the run
    #[command(
        after_help = "Examples:\n  nixactions run plan.json --detach\n  nixactions attach ci-42\n\nCtrl-C ends `attach` and not the run; \
                            `nixactions cancel` ends the run. The exit status is that of `nixactions run`."
    )]
    Attach(AttachArgs),
    /// Open a shell in a job whose step runs
    #[command(after_long_help = "\
The shell has the namespaces, the user, the variables and the working directory of the step, and
lies in the job's control group: systemd ends it with the job. Only root enters jobs of the
system's manager.

Examples:
  nixactions shell ci-42 build
  nixactions shell ci-42 build -- ps -ef")]
    Shell(ShellArgs),
    /// Cancel a run
    #[command(
        after_help = "Every running step gets SIGINT, SIGTERM after 7.5 s, and SIGKILL after another 2.5 s. Then the jobs and steps with the \
                      conditions always() and cancelled() run, for at most 5 minutes. With --kill, nothing runs any more.\n\nExamples:\n  nixactions cancel ci-42\n  \
                      nixactions cancel ci-42 --kill"
    )]
    Cancel(CancelArgs),
    /// Remove runs that are over
    #[command(group = clap::ArgGroup::new("which").args(["keep", "older_than", "max_size"]).required(true).multiple(true))]
    #[command(
        after_help = "`clean` removes each run that is over, unless one of the given options keeps \
                      it. A lost run is over. `--keep` does not keep a run that never began. It \
                      never removes a run that goes on or starts, so you may \
                      call it at any moment. No number of a run is used twice.\n\n\
                      Examples:\n  nixactions clean --older-than 30d\n  \
                      nixactions clean --keep 20 --older-than 7d --dry-run\n  \
                      nixactions clean --keep 5 --max-size 10G"
    )]
    Clean(CleanArgs),
    /// List, unpack and remove images of containers
    #[command(
        after_help = "An image is unpacked once for each digest, below the state directory. The variable NIXACTIONS_IMAGES_SIZE \
                      sets the size of all images together [default: 20G]; images that are not in use make room for new ones.\n\nExamples:\n  \
                      nixactions image pull docker://docker.io/library/alpine:3\n  nixactions image pull ./image.tar --digest sha256:…\n  \
                      nixactions image list --json | jq -r '.[].root'\n  nixactions image clean --keep-size 5G"
    )]
    Image(ImageArgs),
    /// Write a completion script for a shell
    #[command(
        after_help = "Examples:\n  nixactions completions bash > /usr/share/bash-completion/completions/nixactions\n  \
                            nixactions completions fish > ~/.config/fish/completions/nixactions.fish"
    )]
    Completions(CompletionsArgs),
    /// Write the manual page
    #[command(
        after_help = "Examples:\n  nixactions man | man -l -\n  nixactions man --dir /usr/local/share/man/man1"
    )]
    Man(ManArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nixactions run .#ci\n  nixactions run github:owner/repo#ci\n  nixactions run ci.nix -A nightly --argstr channel stable\n  \
                        nixactions run ./result --env LEVEL=debug --input release=2.0\n  nixactions run plan.json --detach && nixactions list\n\nA \
                        file whose name ends in .nix is Nix code; any other file is a plan. In a directory, plan.json comes first, then flake.nix, \
                        then default.nix. A target that does not exist as a file is a flake reference if it has a `#` or begins with a scheme. Nix's \
                        garbage collector keeps what Nix built for a run until the run is removed.\n\nCtrl-C cancels the run; a second Ctrl-C kills it. A run goes on when its \
                        client is killed: `nixactions attach` follows it again. As a service of Type=notify, the client is ready when the run has \
                        started. Its status text is the run's id and conclusion. Stopping the service cancels the run."
)]
pub struct RunArgs {
    /// The workflow.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Print the run's id and do not wait for its end
    #[arg(long, short)]
    pub detach: bool,
    /// The systemd that runs the jobs
    #[arg(long, value_enum, default_value_t = ManagerArg::Auto)]
    pub manager: ManagerArg,
    /// Set a variable for all steps; stronger than the plan
    #[arg(long, short, value_name = "K=V")]
    pub env: Vec<String>,
    /// Set variables from a file of K=V lines; --env is stronger
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub env_file: Vec<PathBuf>,
    /// Set secret variables from a file of K=V lines: masked, and never in the run's directory;
    /// --env is stronger
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secret_env_file: Vec<PathBuf>,
    /// Set an input of the workflow
    #[arg(long, short, value_name = "K=V")]
    pub input: Vec<String>,
    /// The source tree, copied for each job [default: the git repository around the current
    /// directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub source: Option<PathBuf>,
    /// The cause of the run, for its record [default: schedule for a service that a timer started,
    /// else manual]
    #[arg(long, value_enum)]
    pub trigger: Option<TriggerArg>,
    /// Wait with the start until the disks of the state directory and of its runs have this much
    /// free room, such as 512M or 10G
    #[arg(long, value_name = "SIZE")]
    pub disk_reserve: Option<String>,
    /// Wait with the start while some process of the machine waited for memory in more than this
    /// share of the last 10 s, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub memory_pressure_limit: Option<u8>,
    /// Start a template unit when the run has ended, with the run's id as its instance: after a
    /// failure, a success, or a recovery, which is a success that follows a failure
    #[arg(long, value_name = "WHEN=UNIT")]
    pub notify: Vec<String>,
    /// Hold each job that a step fails, until a shell that `nixactions shell` opened there has
    /// ended, or this time is over
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    pub keep_failed: Option<String>,
    /// Have a shutdown of the machine wait for the run, as long as `InhibitDelayMaxSec=` of
    /// logind.conf(5) says
    #[arg(long)]
    pub delay_shutdown: bool,
    /// The user who started the run, for its record [default: the calling user]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// The unit that has obtained the images for this run (`nixactions obtain-images`)
    #[arg(long, value_name = "UNIT", hide = true)]
    pub images: Option<String>,
    /// The form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The causes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum TriggerArg {
    /// A person or a program
    Manual,
    /// A timer
    Schedule,
    /// A push to a branch
    Push,
    /// A pull request
    PullRequest,
    /// A push of a tag
    Tag,
}

/// The workflow of a command.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// A plan or a built workflow (file or directory), a .nix file, or a flake reference such as
    /// .#ci
    #[arg(value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,
    /// The attribute of the workflow in a .nix file, as for nix-build
    #[arg(
        long,
        short = 'A',
        value_name = "ATTR",
        help_heading = "Options for .nix files"
    )]
    pub attr: Option<String>,
    /// Call the function in the .nix file with this expression as the argument NAME
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPR"], allow_hyphen_values = true, help_heading = "Options for .nix files")]
    pub arg: Vec<String>,
    /// Call the function in the .nix file with this text as the argument NAME
    #[arg(long, num_args = 2, value_names = ["NAME", "TEXT"], allow_hyphen_values = true, help_heading = "Options for .nix files")]
    pub argstr: Vec<String>,
}

/// Arguments of `rerun`.
#[derive(Debug, Args)]
#[command(
    after_help = "The new run has the plan, the source tree, the inputs and the variables of the old run. Options given here are stronger. \
                        Give secrets again, because runs do not keep them.\nThe new run takes over the results, outputs and artifacts of jobs that do not run again.\n\n\
                        Examples:\n  nixactions rerun ci-42\n  nixactions rerun ci-42 --failed\n  nixactions rerun ci-42 --job test-linux"
)]
pub struct RerunArgs {
    /// The run's id, such as ci-42
    pub run: String,
    /// Run only jobs that failed, were cancelled or were skipped, and the jobs that need them
    #[arg(long, conflicts_with = "job")]
    pub failed: bool,
    /// Run only this job and the jobs that need it
    #[arg(long, short, value_name = "JOB")]
    pub job: Option<String>,
    /// Print the new run's id and do not wait for its end
    #[arg(long, short)]
    pub detach: bool,
    /// The systemd that runs the jobs [default: that of the old run]
    #[arg(long, value_enum)]
    pub manager: Option<ManagerArg>,
    /// Set a variable for all steps; stronger than the plan
    #[arg(long, short, value_name = "K=V")]
    pub env: Vec<String>,
    /// Set variables from a file of K=V lines; --env is stronger
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub env_file: Vec<PathBuf>,
    /// Set secret variables from a file of K=V lines; those of the old run are not kept
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secret_env_file: Vec<PathBuf>,
    /// The unit that obtains the images: PROGRAM starts it (`nixos/first.sh`), and it reads
    /// `plan.json` in DIRECTORY
    #[arg(long, num_args = 3, value_names = ["PROGRAM", "UNIT", "DIRECTORY"], hide = true)]
    pub images_by: Vec<String>,
    /// The form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// The form of the output
    #[arg(long, short, value_enum, env = "NIXACTIONS_LOG_FORMAT", hide_env_values = true, default_value_t = Output::Text)]
    pub output: Output,
}

/// The forms in which a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines with the job's name before them; on a terminal also a live view of the running jobs
    // An empty `NIXACTIONS_LOG_FORMAT` counts as unset.
    #[value(aliases = ["simple", ""])]
    Text,
    /// [time] [workflow:ci] [job:build] [step:compile] message
    Structured,
    /// One JSON object a line: the run's events and log lines
    Json,
}

/// The managers that may run the units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ManagerArg {
    /// For root the system's, or an embedded one if no systemd runs; for others their own
    Auto,
    /// The machine's PID 1
    System,
    /// Your own systemd --user
    User,
    /// A private systemd in new namespaces, for this run alone
    Embedded,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nixactions check plan.json\n  nixactions check .#ci\n\nFor a flake or a .nix file, Nix evaluates the plan and builds nothing."
)]
pub struct CheckArgs {
    /// The workflow.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `graph`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nixactions graph .#ci\n  nixactions graph plan.json --format dot | dot -Tsvg > plan.svg"
)]
pub struct GraphArgs {
    /// The workflow.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The form of the graph
    #[arg(long, short, value_enum, default_value_t = GraphFormat::Tree)]
    pub format: GraphFormat,
}

/// The forms in which a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A tree in text
    Tree,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Write a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run's id, such as ci-42
    pub run: String,
    /// Write the record as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the Markdown that the steps wrote to $NIXACTIONS_SUMMARY
    #[arg(long, conflicts_with = "json")]
    pub summary: bool,
    /// Write a short text for a message: how the run ended, how the one before it ended, and the
    /// failures
    #[arg(long, conflicts_with_all = ["json", "summary"])]
    pub digest: bool,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run's id, such as ci-42
    pub run: String,
    /// Only this job's lines
    pub job: Option<String>,
    /// Wait for more lines until the run, or the job, has ended
    #[arg(long, short)]
    pub follow: bool,
    /// The form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The run's id, such as ci-42
    pub run: String,
    /// The form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// The run's id, such as ci-42
    pub run: String,
    /// The job
    pub job: String,
    /// A command to run instead of a shell
    #[arg(last = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run's id, such as ci-42
    pub run: String,
    /// Kill all processes of the run at once
    #[arg(long)]
    pub kill: bool,
}

/// Arguments of `clean`.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Keep the N newest runs of each workflow
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,
    /// Keep runs that ended less than this time ago, such as 12h, 30d or 2w
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Keep the newest runs that fit into this size together, such as 512M or 10G
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Keep the newest success and the newest failure of each workflow, whatever their age
    #[arg(long)]
    pub keep_latest: bool,
    /// Only list the runs that would be removed
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

/// Arguments of `image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// The subcommands of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List images, the last used first
    List(ImageListArgs),
    /// Unpack an image unless it is there, and print its digest
    Pull(ImagePullArgs),
    /// Remove images that are not in use
    Remove(ImageRemoveArgs),
    /// Remove all images that are not in use, or the least recently used ones
    Clean(ImageCleanArgs),
}

/// Arguments of `image list`.
#[derive(Debug, Args)]
pub struct ImageListArgs {
    /// Write a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `image pull`.
#[derive(Debug, Args)]
pub struct ImagePullArgs {
    /// An OCI archive, an OCI layout, a docker-archive, a tar archive of a root file system, or a
    /// reference such as docker://docker.io/library/alpine:3
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: String,
    /// The digest that the image must have, such as sha256:…
    #[arg(long)]
    pub digest: Option<String>,
}

/// Arguments of `image remove`.
#[derive(Debug, Args)]
pub struct ImageRemoveArgs {
    /// Digests, or their first digits
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// Arguments of `image clean`.
#[derive(Debug, Args)]
pub struct ImageCleanArgs {
    /// Keep the last used images that fit into this size together, such as 512M or 10G
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub keep_size: String,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each subcommand into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
