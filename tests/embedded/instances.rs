//! The start of a manager while inotify instances are scarce.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::run::{Run, client_command};

/// The kernel counts instances by the real user, so a start as another real user can be made to
/// wait without taking an instance from anything else on the machine.
pub fn a_start_waits_for_inotify_instances() {
    let as_another = |command: &Command| {
        let mut other = Command::new("setpriv");
        other
            .args(["--ruid", "61234"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        other.spawn().unwrap()
    };
    let line = |output: &mut dyn Read| {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    };
    let mut holder = as_another(client_command().arg("--hold"));
    let held: usize = line(holder.stdout.as_mut().unwrap())
        .trim()
        .parse()
        .unwrap();
    assert!(held > 0);

    let run = Run::new("/tmp");
    let mut client = as_another(&run.client("ready"));
    let said = line(client.stderr.as_mut().unwrap());
    assert!(
        said.starts_with("note: waiting up to 60 s for 6 inotify"),
        "{said}"
    );
    assert!(run.log().contains("waiting up to 60 s"), "{}", run.log());
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let booted = line(client.stdout.as_mut().unwrap());
    assert!(booted.contains(' '), "PID 1 was started: {booted:?}");
    let _ = client.kill();
    client.wait().unwrap();
}
