//! Ctrl-C while a run is followed. The signal goes to the whole test process, in which nobody else
//! listens to it.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::common::{append, finish, make_run, sample_events, state};
use nix::sys::signal::{Signal, raise};
use nixactions::{
    event::Event,
    follow::{FollowOptions, Followed, Interrupt, Shown, follow},
    log::LogLine,
    record::{Conclusion, RunRecord},
    report::Renderer,
};

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn say(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }

    async fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|told| told.contains(text))
        {
            assert!(
                Instant::now() < deadline,
                "never told: {text}; but: {:?}",
                self.0.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Renderer for Told {
    fn event(&mut self, _: &Event) -> io::Result<()> {
        self.say("event")
    }
    fn line(&mut self, _: &LogLine) -> io::Result<()> {
        self.say("line")
    }
    fn notice(&mut self, text: &str) -> io::Result<()> {
        self.say(text)
    }
    fn tick(&mut self) -> io::Result<()> {
        self.say("tick")
    }
    fn finish(&mut self, record: Option<&RunRecord>) -> io::Result<()> {
        self.say(if record.is_some() { "the end" } else { "left" })
    }
}

#[tokio::test(flavor = "current_thread")]
async fn ctrl_c_cancels_then_kills_then_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    for (interrupts, expected) in [
        (2, Followed::Run(Some(Conclusion::Cancelled))),
        (3, Followed::Left),
    ] {
        let run = make_run(&state, 0);
        append(&run, &sample_events(&run));
        let told = Told::default();
        let renderer = Box::new(told.clone());
        let options = FollowOptions {
            renderer,
            interrupt: Interrupt::Cancel,
            interrupts: None,
            shown: Shown::Everything,
            fresh: true,
            is_service: false,
            tell: |error| error.to_string(),
        };
        let interrupt = async {
            told.wait_for("event").await;
            raise(Signal::SIGINT).unwrap();
            told.wait_for("cancelling; running steps").await;
            assert_eq!(run.cancel_requested(false).as_deref(), Some("Ctrl-C"));
            assert_eq!(run.cancel_requested(true), None);
            raise(Signal::SIGINT).unwrap();
            told.wait_for("killing; Ctrl-C again").await;
            assert_eq!(run.cancel_requested(true).as_deref(), Some("Ctrl-C"));
            if interrupts == 2 {
                finish(&run, Conclusion::Cancelled);
            } else {
                raise(Signal::SIGINT).unwrap();
            }
        };
        let (exit, ()) = tokio::join!(follow(&run, options, async || true), interrupt);
        assert_eq!(exit.unwrap(), expected);
        told.wait_for(if interrupts == 2 { "the end" } else { "left" })
            .await;
    }
}
