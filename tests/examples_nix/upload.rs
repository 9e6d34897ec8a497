//! The server to which an example publishes its release.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nixactions_harness::Manager;

/// An upload: the lines of the request's head, and the file.
pub type Upload = (Vec<String>, Vec<u8>);

/// Serves in the machine's network: refuses the first request, takes the second. Returns where, and
/// what was uploaded in the end.
pub fn upload_server(manager: &Manager) -> (u16, JoinHandle<Upload>) {
    let network = File::open(format!(
        "/proc/{}/ns/net",
        manager.machine().expect("it is a machine").init()
    ))
    .unwrap();
    let (send, receive) = mpsc::channel();
    let server = thread::spawn(move || {
        // For this thread only.
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send.send(listener.local_addr().unwrap().port()).unwrap();
        let answer = |status: &str| {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let head: Vec<_> = reader
                .by_ref()
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            let length = head
                .iter()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .unwrap()
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(
                reader.get_mut(),
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            (head, body)
        };
        answer("503 Service Unavailable");
        answer("201 Created")
    });
    (receive.recv().unwrap(), server)
}
