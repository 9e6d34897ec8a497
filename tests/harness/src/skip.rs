//! Skipped tests: libtest has no such result, so they pass, but say so where it is seen and
//! counted.

use std::{fmt, fs::OpenOptions, io::Write as _};

/// The reason why a test cannot run here: what it misses.
#[derive(Debug, Clone)]
pub struct Skip(String);

impl Skip {
    /// Makes a skip of the reason, as in: no root file system `x`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Reports the running test as skipped: prints `SKIP name: reason` past libtest's capturing,
    /// and appends that line to the file `$NIXACTIONS_TEST_SKIPS`, whose lines `tests/run` counts.
    pub fn report(&self) {
        self.report_for(std::thread::current().name().unwrap_or("?"));
    }

    /// As [`Skip::report`], where the thread does not have the test's name.
    pub fn report_for(&self, test: &str) {
        let line = format!("SKIP {test}: {self}\n");
        // One write each, so that lines of parallel tests do not mix.
        std::io::stderr()
            .write_all(line.as_bytes())
            .expect("stderr is writable");
        if let Some(path) = std::env::var_os("NIXACTIONS_TEST_SKIPS") {
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .expect("$NIXACTIONS_TEST_SKIPS is writable");
            file.write_all(line.as_bytes())
                .expect("$NIXACTIONS_TEST_SKIPS is writable");
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the value of a `Result<_, Skip>`, or reports the skip and returns from the test.
#[macro_export]
macro_rules! or_skip {
    ($value:expr) => {
        match $value {
            Ok(value) => value,
            Err(skip) => {
                let skip: $crate::Skip = skip;
                skip.report();
                return;
            }
        }
    };
}
