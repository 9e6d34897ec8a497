//! Follows a run to its end: the loop of `run`, `attach` and `logs -f`.
//!
//! It reads events and the end from the run directory, and lines from the journal. On Ctrl-C it
//! writes a request into the run directory, and nothing else, so killing a client changes nothing.
//! It knows nothing of managers and buses: the caller says whether the run still has a supervisor.
//! It knows no command line and no exit status.

mod error;
mod lines;
mod watch;

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

pub use error::FollowError;
pub use lines::Lines;
use watch::Watch;

use crate::{
    event::EventKind,
    ids::JobName,
    interrupts::Interrupts,
    record::{Conclusion, JobRecord, RunRecord},
    report::{Item, Order, Renderer},
    store::{EventTail, JournalEntry, JournalQuery, Mode, RunDir, read_document},
};

/// The time between two looks whether a new run has started a job. A journalctl that waits for more
/// lines is started after that; a shorter run needs none, and its jobs get the processor's time.
const FOLLOW_AFTER: Duration = Duration::from_millis(50);
/// The time after which one is started in any case: the hooks of an executor print lines before its
/// first job starts.
const FOLLOW_ANYWAY: Duration = Duration::from_millis(500);
/// The longest time that journald keeps a line from its readers: a quarter of a second, plus the
/// time that journalctl needs to wake up.
const JOURNALD_LATENCY: SignedDuration = SignedDuration::from_millis(500);
/// The time between two updates of the screen.
const TICK: Duration = Duration::from_millis(100);
/// The interval of checks whether the run still has a supervisor, and the number of negative
/// answers in a row after which the client believes them.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
const ALIVE_NO: u32 = 3;
/// The longest wait for lines that the record counts.
const LINES_DEADLINE: Duration = Duration::from_secs(10);
/// The first and the longest wait between two reads for them.
const LINES_WAIT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// The most restarts of a journalctl that ends by itself.
const JOURNAL_TRIES: u32 = 5;

/// How the following of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// The run ended with this conclusion.
    Run(Option<Conclusion>),
    /// All lines were shown.
    Lines,
    /// A signal ended the following, and the run goes on or is being killed.
    Left,
}

/// The effect of Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The first one cancels the run, the second one kills it, the third one leaves it. In a
    /// service, SIGTERM does the same. Elsewhere SIGTERM ends this program, and the run goes on.
    Cancel,
    /// It ends the following and does not affect the run.
    Detach,
}

/// Returns whether the number of a job's lines is unknown, because one of its runners was killed
/// before it could report it, or because the job has services, whose lines nobody counts. A job
/// that reports a failure or a retry has sent at least one line.
fn is_uncounted(record: &JobRecord) -> bool {
    let lost_count = record.log_lines == 0
        && record.started_at.is_some()
        && (record.attempts > 1
            || matches!(record.outcome, Conclusion::Failure | Conclusion::Cancelled));
    lost_count || !record.services.is_empty()
}

/// The parts of a run that are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Events, output and the result.
    Everything,
    /// The output of all jobs or of one.
    Lines(Option<JobName>),
}

/// The options of following a run.
pub struct FollowOptions {
    /// The renderer.
    pub renderer: Box<dyn Renderer>,
    /// The effect of Ctrl-C.
    pub interrupt: Interrupt,
    /// The signals caught since before the run was made. If `None`, they are caught from now on.
    pub interrupts: Option<Interrupts>,
    /// The parts that are shown.
    pub shown: Shown,
    /// Whether the run was just started, so that there is no earlier output to read.
    pub fresh: bool,
    /// Whether this program is a service of its own: stopping it means its run.
    pub is_service: bool,
    /// Renders an error for the user.
    pub tell: fn(&FollowError) -> String,
}

/// Follows a run until it has ended, and returns its conclusion. `alive` tells whether the run's
/// supervisor is there, or a manager that will restart it.
///
/// Fails if the run directory cannot be read, or the run is lost.
pub async fn follow(
    run: &RunDir,
    mut options: FollowOptions,
    alive: impl AsyncFn() -> bool,
) -> Result<Followed, FollowError> {
    let mut interrupts = match (options.interrupts.take(), options.interrupt) {
        (Some(interrupts), _) => interrupts,
        (None, Interrupt::Cancel) => Interrupts::catch().map_err(FollowError::Signals)?,
        (None, Interrupt::Detach) => Interrupts::ctrl_c().map_err(FollowError::Signals)?,
    };
    interrupts.started();
    let mut watch = Watch::new(run.path());
    let mut follower = Follower::new(run, options);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut asked, mut no) = (Instant::now(), 0);
    let mut entries = Vec::new();
    loop {
        if let Some(end) = follower.look()? {
            return follower.end(end, &mut interrupts).await;
        }
        follower.show()?;
        tokio::select! {
            () = watch.changed() => {}
            more = follower.source.batch(&mut entries) => follower.read(more, &mut entries)?,
            by = interrupts.recv() => {
                if let Some(exit) = follower.interrupted(by)? {
                    return Ok(exit);
                }
            }
            _ = ticks.tick() => {
                follower.tick()?;
                if asked.elapsed() >= ALIVE_EVERY {
                    // No answer in time counts as yes.
                    let answer = timeout(ALIVE_EVERY, alive()).await.unwrap_or(true);
                    asked = Instant::now();
                    no = if answer { 0 } else { no + 1 };
                }
                if no >= ALIVE_NO {
                    return follower.lost(&mut interrupts).await;
                }
            }
        }
    }
}

/// The current source of lines.
enum Source {
    /// No source before this moment.
    From(Instant),
    /// A journalctl that reads the existing lines.
    Past(Lines),
    /// A journalctl that waits for more lines.
    Live(Lines),
    /// No source: the journal cannot be read.
    None,
}

impl Source {
    async fn batch(&mut self, entries: &mut Vec<JournalEntry>) -> Result<bool, FollowError> {
        match self {
            Self::From(moment) => {
                sleep(moment.saturating_duration_since(Instant::now())).await;
                Ok(false)
            }
            Self::Past(lines) | Self::Live(lines) => lines.batch(entries).await,
            Self::None => std::future::pending().await,
        }
    }
}

/// The end of a run, or of the one job that is followed.
struct End {
    record: Option<RunRecord>,
    jobs: BTreeMap<JobName, JobRecord>,
}

struct Follower<'a> {
    run: &'a RunDir,
    renderer: Box<dyn Renderer>,
    interrupt: Interrupt,
    is_service: bool,
    tell: fn(&FollowError) -> String,
    shown: Shown,
    /// Whether the output from before the following began has been read, or cannot be read.
    caught_up: bool,
    /// The time from which lines are read, even if no job has started.
    lines_from: Instant,
    query: JournalQuery,
    tail: EventTail,
    order: Order,
    source: Source,
    tries: u32,
    cursor: Option<String>,
    last_line: Option<Timestamp>,
    interrupts: u32,
    /// Whether the reader of our output is gone. The run is still followed, for its exit status.
    mute: bool,
    /// The end of the one job that is followed.
    job_end: Option<(JobName, JobRecord)>,
}

impl<'a> Follower<'a> {
    fn new(run: &'a RunDir, options: FollowOptions) -> Self {
        let FollowOptions {
            renderer,
            interrupt,
            interrupts: _,
            shown,
            fresh,
            is_service,
            tell,
        } = options;
        let job = match &shown {
            Shown::Lines(job) => job.as_ref(),
            Shown::Everything => None,
        };
        let start = Instant::now() + if fresh { FOLLOW_AFTER } else { Duration::ZERO };
        Self {
            run,
            renderer,
            interrupt,
            is_service,
            tell,
            caught_up: fresh,
            lines_from: start + if fresh { FOLLOW_ANYWAY } else { Duration::ZERO },
            query: JournalQuery::of(run, job),
            shown,
            tail: EventTail::new(run.events()),
            order: Order::default(),
            source: Source::From(start),
            tries: 0,
            cursor: None,
            last_line: None,
            interrupts: 0,
            mute: false,
            job_end: None,
        }
    }

    /// Reads the run directory. Returns the end if the run or job has ended.
    fn look(&mut self) -> Result<Option<End>, FollowError> {
        // The record is written last, so if it exists, all events are there.
        let over = self.run.record().exists();
        for event in self.tail.read_own()? {
            if matches!(event.event, EventKind::JobStarted { .. }) {
                self.lines_from = self.lines_from.min(Instant::now());
            }
            match (&self.shown, &event.event) {
                (Shown::Everything, _) => self.order.event(event),
                (Shown::Lines(Some(wanted)), EventKind::JobFinished { job, record })
                    if wanted == job =>
                {
                    self.job_end = Some((job.clone(), record.clone()));
                }
                (Shown::Lines(_), _) => {}
            }
        }
        if over {
            let record: RunRecord = read_document(&self.run.record())?;
            self.query = self.query.clone().until(record.finished_at);
            let jobs = record.jobs.clone().into_iter();
            let jobs = jobs
                .filter(
                    |(job, _)| !matches!(&self.shown, Shown::Lines(Some(wanted)) if wanted != job),
                )
                .collect();
            return Ok(Some(End {
                record: Some(record),
                jobs,
            }));
        }
        Ok(self.job_end.take().map(|end| End {
            record: None,
            jobs: BTreeMap::from([end]),
        }))
    }

    /// Takes in lines from the journal.
    fn read(
        &mut self,
        more: Result<bool, FollowError>,
        entries: &mut Vec<JournalEntry>,
    ) -> Result<(), FollowError> {
        if !entries.is_empty() {
            self.tries = 0;
        }
        self.take(entries);
        let next = match (&self.source, more) {
            (_, Ok(true)) | (Source::None, _) => return Ok(()),
            (Source::From(_), Ok(false)) if Instant::now() < self.lines_from => {
                Ok(Source::From(Instant::now() + FOLLOW_AFTER))
            }
            (Source::From(_), Ok(false)) => self.start(self.caught_up),
            (Source::Past(_), Ok(false)) => {
                self.caught_up = true;
                self.start(true)
            }
            // This journalctl ends only if it is killed.
            (Source::Live(_), Ok(false)) => Ok(Source::From(Instant::now() + FOLLOW_AFTER)),
            (_, Err(error)) => Err(error),
        };
        self.source = match next {
            Ok(next) => next,
            // The journal of an embedded manager may not exist yet.
            Err(FollowError::JournalFailed { .. }) if self.tries < JOURNAL_TRIES => {
                self.caught_up = true;
                self.tries += 1;
                Source::From(Instant::now() + FOLLOW_AFTER * 2u32.pow(self.tries))
            }
            Err(error) => {
                self.cannot_read(&error)?;
                Source::None
            }
        };
        Ok(())
    }

    fn start(&self, follow: bool) -> Result<Source, FollowError> {
        let lines = Lines::start(
            &self.query,
            Mode {
                follow,
                after: self.cursor.as_deref(),
            },
        )?;
        Ok(if follow {
            Source::Live(lines)
        } else {
            Source::Past(lines)
        })
    }

    fn take(&mut self, entries: &mut Vec<JournalEntry>) {
        for entry in entries.drain(..) {
            self.cursor = Some(entry.cursor);
            for line in entry.lines {
                self.last_line = self.last_line.max(Some(line.at));
                self.order.line(line);
            }
        }
    }

    /// Shows everything that is complete by now.
    fn show(&mut self) -> Result<(), FollowError> {
        let now = Timestamp::now();
        let until = match (&self.source, &self.shown) {
            (_, Shown::Lines(_)) | (Source::None, _) => Timestamp::MAX,
            (Source::From(_) | Source::Past(_) | Source::Live(_), _) if self.caught_up => {
                now - JOURNALD_LATENCY
            }
            // The past is known up to the last line that was read.
            (Source::From(_) | Source::Past(_) | Source::Live(_), _) => {
                self.last_line.unwrap_or(Timestamp::MIN)
            }
        };
        let mut shown = false;
        while let Some(item) = self.order.next(until, now) {
            self.item(&item)?;
            shown = true;
        }
        if shown { self.tick() } else { Ok(()) }
    }

    fn item(&mut self, item: &Item) -> Result<(), FollowError> {
        self.render(|renderer| match item {
            Item::Event(event) => renderer.event(event),
            Item::Line(line) => renderer.line(line),
        })
    }

    fn tick(&mut self) -> Result<(), FollowError> {
        self.render(|renderer| renderer.tick())
    }

    fn notice(&mut self, text: &str) -> Result<(), FollowError> {
        self.render(|renderer| renderer.notice(text))
    }

    fn render(
        &mut self,
        show: impl FnOnce(&mut dyn Renderer) -> io::Result<()>,
    ) -> Result<(), FollowError> {
        if self.mute {
            return Ok(());
        }
        match show(self.renderer.as_mut()) {
            Err(error)
                if error.kind() == io::ErrorKind::BrokenPipe && self.shown == Shown::Everything =>
            {
                self.mute = true;
                Ok(())
            }
            other => other.map_err(FollowError::Output),
        }
    }

    fn cannot_read(&mut self, error: &FollowError) -> Result<(), FollowError> {
        let told = (self.tell)(error);
        self.notice(&format!(
            "warning: the log cannot be read, showing only the run's events\n{told}"
        ))
    }

    /// Handles a signal. Returns an end if the signal ends the following.
    fn interrupted(&mut self, signal: Signal) -> Result<Option<Followed>, FollowError> {
        let id = self.run.id();
        let by = match signal {
            Signal::SIGINT => "Ctrl-C",
            other => other.as_str(),
        };
        // Stopping a service means its run. A program that ends any other client means only the
        // client.
        if matches!(signal, Signal::SIGHUP | Signal::SIGQUIT) {
            signal_hook::low_level::emulate_default_handler(signal as i32)
                .map_err(FollowError::Signals)?;
        }
        if signal == Signal::SIGTERM && !self.is_service {
            self.leave(&format!("{id}: goes on; `nixactions attach {id}` follows it again, `nixactions cancel {id}` ends it"))?;
            signal_hook::low_level::emulate_default_handler(signal as i32)
                .map_err(FollowError::Signals)?;
        }
        self.interrupts += 1;
        match (self.interrupt, self.interrupts) {
            (Interrupt::Cancel, 1) => {
                self.run.request_cancel(by, false)?;
                self.notice(&format!(
                    "{id}: cancelling; running steps get 10 s to end, then jobs and steps with `always()` or `cancelled()` run. Ctrl-C again kills all."
                ))?;
                Ok(None)
            }
            (Interrupt::Cancel, 2) => {
                self.run.request_cancel(by, true)?;
                self.notice(&format!(
                    "{id}: killing; Ctrl-C again leaves without waiting for the end"
                ))?;
                Ok(None)
            }
            (Interrupt::Cancel, _) => {
                self.leave(&format!("{id}: left while it was being killed; `nixactions show {id}` shows how it ended"))?;
                Ok(Some(Followed::Left))
            }
            (Interrupt::Detach, _) => {
                self.leave(&format!("{id}: goes on; `nixactions attach {id}` follows it again, `nixactions cancel {id}` ends it"))?;
                Ok(Some(Followed::Left))
            }
        }
    }

    fn leave(&mut self, notice: &str) -> Result<(), FollowError> {
        if self.shown == Shown::Everything {
            self.notice(notice)?;
        }
        self.render(|renderer| renderer.finish(None))
    }

    /// Shows the rest of the journal, and then the result of the run.
    async fn end(mut self, end: End, interrupts: &mut Interrupts) -> Result<Followed, FollowError> {
        self.source = match self.source {
            // Keeps the information that the journal cannot be read.
            Source::None => Source::None,
            // Ends the journalctl that waits.
            _ => Source::From(Instant::now()),
        };
        if !matches!(self.source, Source::None) {
            tokio::select! {
                rest = self.rest(&end) => rest?,
                _ = interrupts.recv() => {}
            }
        }
        while let Some(item) = self.order.next_of_rest() {
            self.item(&item)?;
        }
        let everything = self.shown == Shown::Everything;
        let record = end.record.filter(|_| everything);
        self.render(|renderer| renderer.finish(record.as_ref()))?;
        Ok(record.map_or(Followed::Lines, |record| Followed::Run(record.conclusion)))
    }

    /// Reads lines until there are as many as the jobs' records count.
    async fn rest(&mut self, end: &End) -> Result<(), FollowError> {
        let deadline = Instant::now() + LINES_DEADLINE;
        let mut wait = LINES_WAIT.0;
        let last = end
            .jobs
            .values()
            .filter(|record| is_uncounted(record))
            .filter_map(|record| record.finished_at)
            .max();
        // After that, journald has all lines that were sent.
        let left = last
            .map(|at| JOURNALD_LATENCY - Timestamp::now().duration_since(at))
            .filter(|left| left.is_positive())
            // The clock may have been ahead at the job's end.
            .map(|left| left.min(JOURNALD_LATENCY));
        sleep(left.unwrap_or_default().unsigned_abs()).await;
        let mut uncounted = last.is_some();
        loop {
            let missing = self.order.missing(&end.jobs);
            if missing == 0 && !uncounted {
                return Ok(());
            }
            if Instant::now() > deadline {
                if missing == 0 {
                    return Ok(());
                }
                let noun = if missing == 1 { "line" } else { "lines" };
                return self.notice(&format!(
                    "warning: {missing} log {noun} did not appear in the journal; showing the rest"
                ));
            }
            match self.once().await {
                Ok(()) => uncounted = false,
                // No record counts further lines.
                Err(_) if missing == 0 => return Ok(()),
                // The journal may still be empty.
                Err(FollowError::JournalFailed {
                    is_denied: false, ..
                }) if Instant::now() < deadline => {}
                Err(error @ (FollowError::Journal(_) | FollowError::JournalFailed { .. })) => {
                    return self.cannot_read(&error);
                }
                Err(error) => return Err(error),
            }
            if self.order.missing(&end.jobs) > 0 {
                sleep(wait).await;
                wait = (wait * 2).min(LINES_WAIT.1);
            }
        }
    }

    /// Reads the lines in the journal after the last one, and shows what is complete.
    async fn once(&mut self) -> Result<(), FollowError> {
        let mut lines = Lines::start(
            &self.query,
            Mode {
                follow: false,
                after: self.cursor.as_deref(),
            },
        )?;
        let mut entries = Vec::new();
        loop {
            let more = lines.batch(&mut entries).await?;
            self.take(&mut entries);
            while let Some(item) = self
                .order
                .next(self.last_line.unwrap_or(Timestamp::MIN), Timestamp::now())
            {
                self.item(&item)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Shows the known part of a lost run.
    async fn lost(mut self, interrupts: &mut Interrupts) -> Result<Followed, FollowError> {
        // The run may have ended in the meantime.
        if let Some(end) = self.look()? {
            return self.end(end, interrupts).await;
        }
        self.source = Source::None;
        // Errors do not matter here: there is no later chance to read the log.
        let _ = self.once().await;
        while let Some(item) = self.order.next_of_rest() {
            self.item(&item)?;
        }
        self.render(|renderer| renderer.finish(None))?;
        let run = self.run.id().to_string();
        Err(if self.run.path().exists() {
            FollowError::Lost { run }
        } else {
            FollowError::Removed { run }
        })
    }
}
