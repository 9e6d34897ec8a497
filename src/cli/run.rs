//! `nixactions run`: starts a run and follows it to its end.

use std::path::Path;

use super::{
    CliError, Exit, FollowOptions, Interrupt,
    args::{ManagerArg, RunArgs},
    block_on, follow,
    follow::Shown,
    output::renderer,
    start::{Choice, Request, start},
};
use crate::{
    store::{Liveness, StateDir},
    unit::ManagerKind,
};

pub(super) fn main(args: &RunArgs, state: &Path) -> Result<Exit, CliError> {
    let request = Request {
        plan: &args.plan,
        state_dir: state,
        manager: match args.manager {
            ManagerArg::Auto => Choice::Auto,
            ManagerArg::System => Choice::Only(ManagerKind::System),
            ManagerArg::User => Choice::Only(ManagerKind::User),
            ManagerArg::Embedded => Choice::Only(ManagerKind::Embedded),
        },
        env: &args.env,
        env_files: &args.env_file,
        inputs: &args.input,
        source: args.source.as_deref(),
    };
    block_on(async {
        let started = start(&request).await?;
        let run = started.run;
        // Nothing waits for this, and what cannot be closed is shown as lost.
        let _ = StateDir::open(state).and_then(|state| state.close_lost());
        for note in &started.notes {
            eprintln!("{}: {note}", run.id());
        }
        if args.detach {
            println!("{}", run.id());
            return Ok(Exit::Success);
        }
        let options = FollowOptions {
            renderer: renderer(args.output.output, run.id(), true),
            interrupt: Interrupt::Cancel,
            shown: Shown::Everything,
            fresh: true,
        };
        follow(&run, options, async || run.liveness() != Liveness::Lost).await
    })
}
