//! The endpoint: one thread, a few connections at a time, each bounded in time and size. Nobody can hold it up for others: who is slow
//! is hung up on, and a new client pushes out the one that has waited longest.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use super::collector::Pages;
use super::listen::Listen;
use super::request::{self, Asked, HEAD_MAX_BYTES, Page};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 16;

/// How long a client may take for its request and for reading the response.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no endpoint.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// Somebody listens there.
    #[error(
        "metrics: {listen} is in use: choose another port with --metrics or metrics.listen, or find who has it with \
         `ss -ltnp 'sport = :{}'`", .listen.0.port()
    )]
    InUse {
        /// As configured.
        listen: Listen,
    },
    /// This host has no such address.
    #[error("metrics: {listen} is no address of this host's own network (`ip address` shows them): choose one, or 127.0.0.1:{}", .listen.0.port())]
    NoSuchAddress {
        /// As configured.
        listen: Listen,
    },
    /// The system refuses otherwise.
    #[error("metrics: cannot listen on {listen}: {source}")]
    System {
        /// As configured.
        listen: Listen,
        /// Why not.
        source: io::Error,
    },
}

/// A place that is taken, where nobody is answered yet.
#[derive(Debug)]
pub struct BoundEndpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundEndpoint {
    /// Takes the place. Whoever connects from now on waits.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn bind(listen: Listen) -> Result<Self, EndpointError> {
        let system = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => EndpointError::InUse { listen },
            ErrorKind::AddrNotAvailable => EndpointError::NoSuchAddress { listen },
            _ => EndpointError::System { listen, source },
        };
        let listener = TcpListener::bind(listen.0).map_err(system)?;
        listener.set_nonblocking(true).map_err(system)?;
        let address = listener.local_addr().map_err(system)?;
        Ok(Self { listener, address })
    }

    /// Where it is; with the port that the system chose, if it was to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer, those who wait first.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn answer(self, pages: Pages) -> Result<MetricsServer, EndpointError> {
        let listen = Listen(self.address);
        let system = |source| EndpointError::System { listen, source };
        let (ours, theirs) = UnixStream::pair().map_err(system)?;
        let endpoint = Endpoint { listener: self.listener, stop: theirs, pages, clients: Vec::new() };
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || endpoint.run());
        Ok(MetricsServer { stop: Some(ours), thread: Some(thread.map_err(system)?) })
    }
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    /// Closing it wakes and ends the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of its has ended it too.
            drop(thread.join());
        }
    }
}

struct Endpoint {
    listener: TcpListener,
    stop: UnixStream,
    pages: Pages,
    /// Oldest first.
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    deadline: Instant,
    head: Vec<u8>,
    /// Empty until the request is there.
    response: Vec<u8>,
    sent: usize,
}

/// What becomes of a client after it was looked at.
#[derive(PartialEq, Eq)]
enum Next {
    Wait,
    HangUp,
}

impl Endpoint {
    fn run(mut self) {
        loop {
            let Ok((stopped, knocking)) = self.wait() else {
                // Out of memory, which may pass.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if stopped {
                return;
            }
            let Self { clients, pages, .. } = &mut self;
            let now = Instant::now();
            clients.retain_mut(|client| now < client.deadline && client.serve(pages) == Next::Wait);
            if knocking {
                self.let_in(now);
            }
        }
    }

    /// Waits until there is something to do; whether it is to end, and whether somebody new is there.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let now = Instant::now();
        let nearest = self.clients.iter().map(|client| client.deadline.saturating_duration_since(now)).min();
        // One millisecond more: a deadline is over when it is behind us.
        let timeout =
            nearest.map(|left| left + Duration::from_millis(1)).and_then(|left| Timespec::try_from(left).ok());
        let mut events = vec![PollFd::new(&self.stop, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        events.extend(self.clients.iter().map(|client| {
            let wanted = if client.response.is_empty() { PollFlags::IN } else { PollFlags::OUT };
            PollFd::new(&client.stream, wanted)
        }));
        match poll(&mut events, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            Err(error) => return Err(error.into()),
        }
        let happened = |at: usize| events.get(at).is_some_and(|event| !event.revents().is_empty());
        Ok((happened(0), happened(1)))
    }

    fn let_in(&mut self, now: Instant) {
        match self.listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                if self.clients.len() >= MAX_CONNECTIONS {
                    self.clients.remove(0);
                }
                let deadline = now + PATIENCE;
                self.clients.push(Client { stream, deadline, head: Vec::new(), response: Vec::new(), sent: 0 });
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            // Out of descriptors: whoever holds them must get a chance to give them back.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

impl Client {
    /// Reads and writes as far as it goes without waiting.
    fn serve(&mut self, pages: &Pages) -> Next {
        match self.advance(pages) {
            Ok(next) => next,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Next::Wait,
            Err(_) => Next::HangUp,
        }
    }

    fn advance(&mut self, pages: &Pages) -> io::Result<Next> {
        while self.response.is_empty() {
            let mut part = [0; HEAD_MAX_BYTES];
            let room = HEAD_MAX_BYTES - self.head.len();
            let count = self.stream.read(&mut part[..room])?;
            if count == 0 {
                return Ok(Next::HangUp);
            }
            self.head.extend_from_slice(&part[..count]);
            self.response = respond(request::read(&self.head), pages);
        }
        while self.sent < self.response.len() {
            let count = self.stream.write(&self.response[self.sent..])?;
            if count == 0 {
                return Ok(Next::HangUp);
            }
            self.sent += count;
        }
        // What the client sent behind its request would turn an orderly end into a reset that may eat the response.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut rest = [0; HEAD_MAX_BYTES];
        let _ = self.stream.read(&mut rest);
        Ok(Next::HangUp)
    }
}

/// The response; empty while the request is not complete.
fn respond(asked: Asked, pages: &Pages) -> Vec<u8> {
    match asked {
        Asked::Page { page: Page::Metrics, body } => {
            pages.metrics().map_or_else(|_| request::failure(), |content| request::metrics(&content, body))
        }
        Asked::Page { page: Page::Health, body } => {
            let (well, line) = pages.health();
            request::health(well, &line, body)
        }
        other => request::refusal(other).unwrap_or_default(),
    }
}
