//! Carries what a job hides in its lines to its services: a service that gets a secret from a step
//! may print it.
//!
//! The job's runner listens on a socket. systemd opens the socket's directory for the runner of
//! each service, before the sandbox, so that the service's program cannot reach the socket, and
//! learns no secret by it. A service's runner connects before it starts the program. The job's
//! runner starts no process before all services have taken the masks that it knows. The values stay
//! in memory.

use std::{
    fs::{self, DirBuilder},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use super::mask::{Masker, PART_MAX};

/// The name of the socket in its directory.
const SOCKET: &str = "socket";
/// The longest wait for the other side. It is longer than a runner waits for room in journald's
/// socket.
const DEADLINE: Duration = Duration::from_secs(40);
/// The answers of a service: it hides all that it was told, or it cannot.
const TAKEN: u8 = 0;
const REFUSED: u8 = 1;
/// The bytes of the length of a part, which is one text that is hidden.
const LENGTH: usize = size_of::<u32>();
/// The most bytes of one read.
const CHUNK: usize = 64 << 10;

/// The masks that a job and its services share, as a runner has them.
#[derive(Debug, Default)]
pub(super) enum Masks {
    /// A job without services.
    #[default]
    Own,
    /// A job tells its services.
    Told(Teller),
    /// A service is told.
    Heard(Hearer),
}

impl Masks {
    /// Returns the descriptor that is readable when there is something to take in.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Heard(hearer) => hearer.stream.as_ref().map(AsFd::as_fd),
            Self::Own | Self::Told(_) => None,
        }
    }

    /// Tells the services what is new, and waits until they hide it.
    ///
    /// # Errors
    /// Fails if a service does not answer in time, or cannot hide that much.
    pub(super) fn tell(&mut self, masker: &Masker) -> io::Result<()> {
        match self {
            Self::Told(teller) => teller.tell(masker),
            Self::Own | Self::Heard(_) => Ok(()),
        }
    }

    /// Takes in what the job has told.
    pub(super) fn take_in(&mut self, masker: &mut Masker) {
        if let Self::Heard(hearer) = self {
            hearer.take_in(masker);
        }
    }
}

/// The side of a job.
#[derive(Debug)]
pub(super) struct Teller {
    /// The socket and its path, until all services have connected.
    waits: Option<(PathBuf, UnixListener)>,
    /// The services, each with the number of parts that it knows.
    services: Vec<(UnixStream, usize)>,
    /// The number of services that have connected.
    connected: usize,
}

impl Teller {
    /// Makes the directory, if a runner before this one has not, and listens for the services.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn listen(directory: &Path) -> io::Result<Self> {
        // The services have users of their own, who open the directory.
        match DirBuilder::new().mode(0o755).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let opened = fs::File::open(directory)?;
        let path = directory.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(short(&opened))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            waits: Some((path, listener)),
            services: Vec::new(),
            connected: 0,
        })
    }

    /// Takes the connections of services, up to this number in all, and tells them what is hidden.
    /// Returns whether all have connected. From then on nobody else can connect.
    ///
    /// # Errors
    /// Fails as [`Masks::tell`] does.
    pub(super) fn has_all(&mut self, count: usize, masker: &Masker) -> io::Result<bool> {
        let Some((path, listener)) = &self.waits else {
            return Ok(true);
        };
        while self.connected < count
            && let Ok((stream, _)) = listener.accept()
        {
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            send(&stream, masker.parts_from(0))?;
            self.services.push((stream, masker.count()));
            self.connected += 1;
        }
        if self.connected < count {
            return Ok(false);
        }
        // The service's runner keeps the directory, for a runner that follows this one.
        let _ = fs::remove_file(path);
        self.waits = None;
        Ok(true)
    }

    fn tell(&mut self, masker: &Masker) -> io::Result<()> {
        let count = masker.count();
        let mut told = Ok(());
        self.services.retain_mut(|(stream, known)| {
            if *known == count {
                return true;
            }
            let sent = send(stream, masker.parts_from(*known));
            *known = count;
            match sent {
                Ok(()) => true,
                Err(error) if has_ended(&error) => false,
                Err(error) => {
                    told = Err(error);
                    false
                }
            }
        });
        told
    }
}

/// Returns whether the other side has ended. A service that has ended prints nothing.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Sends parts, and waits for the answer.
fn send<'a>(mut to: &UnixStream, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut bytes = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    let mut answer = [REFUSED];
    to.write_all(&bytes)
        .and_then(|()| to.read_exact(&mut answer))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::other("a service did not take the secrets that its lines must not show")
            }
            _ => error,
        })?;
    if answer == [TAKEN] {
        Ok(())
    } else {
        Err(io::Error::other(
            "a service cannot hide all secrets of its job, so its lines may show some",
        ))
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
}

impl Hearer {
    /// Connects to the job's runner, and takes in what the job hides so far.
    ///
    /// # Errors
    /// Fails if the runner does not answer in time.
    pub(super) fn connect(directory: OwnedFd, masker: &mut Masker) -> io::Result<Self> {
        let mut stream = UnixStream::connect(short(&directory))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut hearer = Self {
            directory,
            stream: None,
            held: Vec::new(),
            is_too_much: false,
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    hearer.held.extend_from_slice(&chunk[..length]);
                    if hearer.answer(&stream, masker)? {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stream.set_nonblocking(true)?;
        hearer.stream = Some(stream);
        Ok(hearer)
    }

    /// Takes in what has come. If the job's runner has ended, looks for the one that follows it.
    fn take_in(&mut self, masker: &mut Masker) {
        if self.stream.is_none() {
            self.held.clear();
            let stream = UnixStream::connect(short(&self.directory));
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

    /// Hides the parts that are complete, and answers at the end of what was told. Returns whether
    /// it has answered.
    fn answer(&mut self, mut to: &UnixStream, masker: &mut Masker) -> io::Result<bool> {
        let mut at = 0;
        let mut has_answered = false;
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
            has_answered = true;
        }
        self.held.drain(..at);
        Ok(has_answered)
    }
}

/// Returns the path of the socket in an open directory. The path of a socket has at most 108 bytes
/// (unix(7)), and the directory may have no path here.
fn short(directory: &impl AsFd) -> PathBuf {
    let descriptor = directory.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{descriptor}")).join(SOCKET)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Connects a service to a job that hides these values.
    fn pair(directory: &Path, job: &Masker) -> (Teller, Hearer, Masker) {
        let mut teller = Teller::listen(directory).unwrap();
        let opened = fs::File::open(directory).unwrap();
        let connects = thread::spawn(move || {
            let mut masker = Masker::default();
            (Hearer::connect(opened.into(), &mut masker).unwrap(), masker)
        });
        while !teller.has_all(1, job).unwrap() {
            thread::yield_now();
        }
        let (hearer, service) = connects.join().unwrap();
        (teller, hearer, service)
    }

    #[test]
    fn a_service_hides_what_its_job_hides_before_the_job_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("masks");
        let mut job = Masker::default();
        job.add(b"hunter2").unwrap();
        let (mut teller, mut hearer, mut service) = pair(&directory, &job);
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
        teller.tell(&job).unwrap();
        let (mut hearer, mut service) = hears.join().unwrap();
        assert_eq!(service.text(&text), "***");
        // A runner that follows this one tells all again, and more.
        drop(teller);
        hearer.take_in(&mut service);
        job.add(b"another").unwrap();
        let mut teller = Teller::listen(&directory).unwrap();
        let hears = thread::spawn(move || {
            while service.text("another") != "***" {
                hearer.take_in(&mut service);
            }
        });
        while !teller.has_all(1, &job).unwrap() {
            thread::yield_now();
        }
        hears.join().unwrap();
    }

    #[test]
    fn a_service_that_has_ended_keeps_no_job() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("masks");
        let mut job = Masker::default();
        let (mut teller, hearer, _) = pair(&directory, &job);
        drop(hearer);
        job.add(b"hunter2").unwrap();
        teller.tell(&job).unwrap();
        assert!(teller.services.is_empty());
    }
}
