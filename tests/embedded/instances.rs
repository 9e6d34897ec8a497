//! The start of a manager while inotify instances are scarce.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::run::{Run, client_command};

/// Takes all instances that root may still have, so it must run alone: no other manager could start
/// meanwhile.
pub fn a_start_waits_for_inotify_instances() {
    let piped = |mut command: Command| {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let line = |output: &mut dyn Read| {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    };
    let mut hold = client_command();
    hold.arg("--hold");
    let mut holder = piped(hold);
    let held: usize = line(holder.stdout.as_mut().unwrap())
        .trim()
        .parse()
        .unwrap();
    assert!(held > 0);

    let run = Run::new("/tmp");
    let mut client = piped(run.client("ready"));
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
