//! Carries what a job hides in its lines to its services: a service that gets a secret from a step
//! may print it.
//!
//! The job's runner listens on a socket. systemd opens the socket's directory for the runner of
//! each service, before the sandbox, so that the service's program cannot reach the socket, and
//! learns no secret by it. A service's runner connects before it starts the program. The job's
//! runner starts no provider and no step before the runners of all services hide what it hides.
//! The values stay in memory.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{
            fs::{OpenOptionsExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc::{O_DIRECTORY, O_NOFOLLOW},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    mask::{Masker, PART_MAX},
    signals::Signals,
};

/// The name of the socket in its directory, and its name before services may connect.
const SOCKET: &str = "socket";
const NEW_SOCKET: &str = "socket.new";
/// The longest wait for the answers of all services.
const DEADLINE: Duration = Duration::from_secs(40);
/// The longest sleep of a service's runner before it tries again to connect to the job's.
const TRY_AGAIN: u16 = 50;
/// The answers of a service: it hides all that it was told, or it cannot.
const TAKEN: u8 = 0;
const REFUSED: u8 = 1;
/// The bytes of the length of a part, which is one text that is hidden.
const LENGTH: usize = size_of::<u32>();

/// The masks that a job and its services share, as a runner has them.
#[derive(Debug, Default)]
pub(super) enum Masks {
    /// Of a job without services.
    #[default]
    Own,
    /// Of a job, which tells its services.
    OfJob(Teller),
    /// Of a service, which hears its job.
    OfService(Hearer),
}

impl Masks {
    /// Returns the descriptor that is readable when there is something to take in.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::OfService(hearer) => hearer.stream.as_ref().map(AsFd::as_fd),
            Self::Own | Self::OfJob(_) => None,
        }
    }

    /// Tells the services the new values, and waits until they hide them.
    ///
    /// # Errors
    /// Fails if a service does not answer in time, or cannot hide that much, or if the job is
    /// cancelled meanwhile. From then on each call fails: the service may show a secret.
    pub(super) fn tell(&mut self, masker: &Masker, signals: &mut Signals) -> io::Result<()> {
        match self {
            Self::OfJob(teller) => teller.tell(masker, signals),
            Self::Own | Self::OfService(_) => Ok(()),
        }
    }

    /// Returns whether a service has not taken what it was told.
    pub(super) fn have_failed(&self) -> bool {
        matches!(self, Self::OfJob(teller) if teller.failed.is_some())
    }

    /// Takes in what the job has told.
    pub(super) fn take_in(&mut self, masker: &mut Masker) {
        if let Self::OfService(hearer) = self {
            hearer.take_in(masker);
        }
    }
}

/// The side of a job.
#[derive(Debug)]
pub(super) struct Teller {
    /// The directory and the socket in it, until all services have connected.
    waits: Option<(OwnedFd, UnixListener)>,
    /// The services, each with the number of parts that it knows.
    services: Vec<(UnixStream, usize)>,
    /// The number of services that have connected.
    connected: usize,
    /// Why a service has not taken what it was told.
    failed: Option<String>,
}

impl Teller {
    /// Listens for the services.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn listen(directory: &Path) -> io::Result<Self> {
        let opened: OwnedFd = File::options()
            .read(true)
            .custom_flags(O_DIRECTORY | O_NOFOLLOW)
            .open(directory)?
            .into();
        let path = short(&opened, NEW_SOCKET);
        remove(&path)?;
        let listener = UnixListener::bind(&path)?;
        // The runners of services have users of their own.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        fs::rename(&path, short(&opened, SOCKET))?;
        Ok(Self {
            waits: Some((opened, listener)),
            services: Vec::new(),
            connected: 0,
            failed: None,
        })
    }

    /// Takes the connections of services, up to this number in all, and tells them what is hidden.
    /// Returns whether all have connected. From then on nobody else can connect.
    ///
    /// # Errors
    /// Fails as [`Masks::tell`] does.
    pub(super) fn has_all(
        &mut self,
        count: usize,
        masker: &Masker,
        signals: &mut Signals,
    ) -> io::Result<bool> {
        if let Some((directory, listener)) = &self.waits {
            while self.connected < count
                && let Ok((stream, _)) = listener.accept()
            {
                stream.set_nonblocking(true)?;
                // It is told below, like one that has connected before.
                self.services.push((stream, UNTOLD));
                self.connected += 1;
            }
            if self.connected == count {
                // The runners of services keep the directory open: a runner that follows this one
                // makes its socket there.
                remove(&short(directory, SOCKET))?;
                self.waits = None;
            }
        }
        self.tell(masker, signals)?;
        Ok(self.waits.is_none())
    }

    fn tell(&mut self, masker: &Masker, signals: &mut Signals) -> io::Result<()> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(why.clone()));
        }
        let count = masker.count();
        let until = Instant::now() + DEADLINE;
        let was_cancelled = signals.cancelled();
        for (stream, known) in self
            .services
            .iter_mut()
            .filter(|(_, known)| *known != count)
        {
            let first = if *known == UNTOLD { 0 } else { *known };
            let bytes = told(masker.parts_from(first))?;
            let mut waits = |events| {
                if !was_cancelled && signals.cancelled() {
                    return Err(io::Error::other("the job is cancelled"));
                }
                wait(stream, events, until, signals)
            };
            match send(stream, &bytes, &mut waits) {
                Ok(()) => *known = count,
                Err(error) if has_ended(&error) => *known = ENDED,
                Err(error) => {
                    let why = format!(
                        "the secrets of the job cannot be hidden in the lines of its services: {error}"
                    );
                    self.failed = Some(why.clone());
                    return Err(io::Error::other(why));
                }
            }
        }
        self.services.retain(|(_, known)| *known != ENDED);
        Ok(())
    }
}

/// The number of parts of a service that was told none yet, and of a service that has ended.
const UNTOLD: usize = usize::MAX;
const ENDED: usize = usize::MAX - 1;

/// Returns whether the other side has ended. A service that has ended prints nothing.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Returns the message with these parts.
fn told<'a>(parts: impl Iterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    Ok(bytes)
}

/// Sends a message, and waits for the answer. `waits` sleeps until the stream is ready.
fn send(
    mut to: &UnixStream,
    mut bytes: &[u8],
    waits: &mut impl FnMut(PollFlags) -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => waits(PollFlags::POLLOUT)?,
            Err(error) => return Err(error),
        }
    }
    let mut answer = [REFUSED];
    loop {
        match to.read(&mut answer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if answer == [TAKEN] => return Ok(()),
            Ok(_) => return Err(io::Error::other("they are too many")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => waits(PollFlags::POLLIN)?,
            Err(error) => return Err(error),
        }
    }
}

/// Sleeps until the stream is ready, or a signal comes.
///
/// # Errors
/// Fails when the time is over.
fn wait(
    stream: &UnixStream,
    events: PollFlags,
    until: Instant,
    signals: &Signals,
) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::other("a service does not answer"));
    }
    let mut fds = [
        PollFd::new(stream.as_fd(), events),
        PollFd::new(signals.fd(), PollFlags::POLLIN),
    ];
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The side of a service.
#[derive(Debug)]
pub(super) struct Hearer {
    directory: OwnedFd,
    /// The connection, while the job's runner lives.
    stream: Option<UnixStream>,
    /// The bytes of a part that is not complete.
    held: Vec<u8>,
    /// Whether a part since the last answer cannot be hidden.
    is_too_much: bool,
    /// Whether it has answered.
    has_answered: bool,
}

impl Hearer {
    /// Connects to the job's runner, and takes in what the job hides so far. If that runner ends
    /// meanwhile, waits for the one that follows it. Returns `None` if the service is asked to end,
    /// as it is when its job ends.
    pub(super) fn connect(
        directory: OwnedFd,
        masker: &mut Masker,
        signals: &mut Signals,
    ) -> Option<Self> {
        let mut hearer = Self {
            directory,
            stream: None,
            held: Vec::new(),
            is_too_much: false,
            has_answered: false,
        };
        loop {
            if signals.cancelled() {
                return None;
            }
            hearer.take_in(masker);
            if hearer.has_answered {
                return Some(hearer);
            }
            let stream = hearer.stream.as_ref().map(AsFd::as_fd);
            let timeout = if stream.is_some() {
                PollTimeout::NONE
            } else {
                PollTimeout::from(TRY_AGAIN)
            };
            let fds = [Some(signals.fd()), stream].into_iter().flatten();
            let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            // An interrupted or failed poll does no harm, since everything is tried again.
            let _ = poll(&mut fds, timeout);
        }
    }

    /// Takes in what has come. If the job's runner has ended, looks for the one that follows it.
    fn take_in(&mut self, masker: &mut Masker) {
        if self.stream.is_none() {
            self.held.clear();
            self.is_too_much = false;
            let stream = UnixStream::connect(short(&self.directory, SOCKET));
            let stream = stream.and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
            self.stream = stream.ok();
        }
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let mut chunk = [0; 4096];
        let lives = loop {
            match stream.read(&mut chunk) {
                Ok(0) => break false,
                Ok(length) => {
                    self.held.extend_from_slice(&chunk[..length]);
                    if self.answer(&stream, masker).is_err() {
                        break false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        self.stream = lives.then_some(stream);
    }

    /// Hides the parts that are complete, and answers at the end of what was told.
    fn answer(&mut self, mut to: &UnixStream, masker: &mut Masker) -> io::Result<()> {
        let mut at = 0;
        while let Some((length, rest)) = self.held[at..].split_first_chunk::<LENGTH>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(io::Error::other)?;
            if length > PART_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some(part) = rest.get(..length) else {
                break;
            };
            at += LENGTH + length;
            if length > 0 {
                self.is_too_much |= masker.add_part(part).is_err();
                continue;
            }
            let answer = if self.is_too_much { REFUSED } else { TAKEN };
            self.is_too_much = false;
            to.write_all(&[answer])?;
            self.has_answered = true;
        }
        self.held.drain(..at);
        Ok(())
    }
}

/// Returns the path of a socket in an open directory. The path of a socket has at most 108 bytes
/// (unix(7)), and the directory may have no path here.
fn short(directory: &impl AsFd, name: &str) -> PathBuf {
    let descriptor = directory.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{descriptor}")).join(name)
}

/// Removes a file if it exists.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Connects a service to a job that hides these values.
    fn pair(directory: &Path, job: &Masker) -> (Teller, Hearer, Masker) {
        let mut signals = Signals::new().unwrap();
        let opened = File::open(directory).unwrap();
        // A service may be there before the job's runner.
        let connects = thread::spawn(move || {
            let (mut masker, mut signals) = (Masker::default(), Signals::new().unwrap());
            let hearer = Hearer::connect(opened.into(), &mut masker, &mut signals);
            (hearer.unwrap(), masker)
        });
        let mut teller = Teller::listen(directory).unwrap();
        while !teller.has_all(1, job, &mut signals).unwrap() {
            thread::yield_now();
        }
        let (hearer, service) = connects.join().unwrap();
        (teller, hearer, service)
    }

    #[test]
    fn a_service_hides_what_its_job_hides_before_the_job_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        let mut signals = Signals::new().unwrap();
        let mut job = Masker::default();
        job.add(b"hunter2").unwrap();
        let (mut teller, mut hearer, mut service) = pair(directory, &job);
        assert_eq!(service.text("a hunter2 b"), "a *** b");
        assert!(!directory.join(SOCKET).exists(), "nobody else can connect");
        // Longer than a socket holds at once.
        let long: Vec<u8> = (0..45_000)
            .flat_map(|n| format!("{n:06}").into_bytes())
            .collect();
        job.add_asked_for(&long).unwrap();
        let (count, text) = (job.count(), String::from_utf8(long).unwrap());
        let hears = thread::spawn(move || {
            while service.count() < count {
                hearer.take_in(&mut service);
            }
            (hearer, service)
        });
        teller.tell(&job, &mut signals).unwrap();
        let (mut hearer, mut service) = hears.join().unwrap();
        assert_eq!(service.text(&text), "***");
        // A runner that follows this one tells all again, and more.
        drop(teller);
        hearer.take_in(&mut service);
        job.add(b"another").unwrap();
        let mut teller = Teller::listen(directory).unwrap();
        let hears = thread::spawn(move || {
            while service.text("another") != "***" {
                hearer.take_in(&mut service);
            }
        });
        while !teller.has_all(1, &job, &mut signals).unwrap() {
            thread::yield_now();
        }
        hears.join().unwrap();
    }

    #[test]
    fn a_service_that_has_ended_keeps_no_job() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        let mut signals = Signals::new().unwrap();
        let mut job = Masker::default();
        let (mut teller, hearer, _) = pair(directory, &job);
        drop(hearer);
        job.add(b"hunter2").unwrap();
        teller.tell(&job, &mut signals).unwrap();
        assert!(teller.services.is_empty());
    }

    #[test]
    fn a_service_that_cannot_hide_a_secret_stops_its_job_for_good() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        let mut signals = Signals::new().unwrap();
        let mut job = Masker::default();
        let (mut teller, mut hearer, mut service) = pair(directory, &job);
        // The service hides as much of its own as it can.
        for number in 0.. {
            if service
                .add_part(&format!("{number:01000}").into_bytes())
                .is_err()
            {
                break;
            }
        }
        job.add(b"hunter2-and-a-long-rest-of-a-secret").unwrap();
        let hears = thread::spawn(move || {
            while hearer.stream.is_some() {
                hearer.take_in(&mut service);
            }
        });
        let long = "0".repeat(2000);
        job.add(long.as_bytes()).unwrap();
        let why = teller.tell(&job, &mut signals).unwrap_err().to_string();
        assert!(why.ends_with("they are too many"), "{why}");
        let again = teller.tell(&job, &mut signals).unwrap_err();
        assert_eq!(again.to_string(), why, "nothing starts from now on");
        drop(teller);
        hears.join().unwrap();
    }

    #[test]
    fn a_service_waits_for_the_next_runner_of_its_job() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        let mut signals = Signals::new().unwrap();
        let first = Teller::listen(directory).unwrap();
        let opened = File::open(directory).unwrap();
        let connects = thread::spawn(move || {
            let (mut masker, mut signals) = (Masker::default(), Signals::new().unwrap());
            Hearer::connect(opened.into(), &mut masker, &mut signals).unwrap();
            masker
        });
        // It is killed before it tells the service anything.
        drop(first);
        let mut job = Masker::default();
        job.add(b"hunter2").unwrap();
        let mut next = Teller::listen(directory).unwrap();
        while !next.has_all(1, &job, &mut signals).unwrap() {
            thread::yield_now();
        }
        assert_eq!(connects.join().unwrap().text("a hunter2 b"), "a *** b");
    }
}
