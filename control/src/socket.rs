//! The server side of the control socket. Only those whom its permissions let in can reach it, none of them can hold it up for others for
//! long, and two daemons never share one path.

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::net::Shutdown;

use crate::advice::Advice;
use crate::protocol::{REQUEST_MAX_BYTES, Refusal, RefusalCode, Reply, Request};
use crate::settings::ControlSettings;

/// Clients at a time; one more is told so and hung up on.
pub const MAX_CLIENTS: usize = 8;

/// A client that has not completed a request line after this is hung up on.
const REQUEST_TIME: Duration = Duration::from_secs(60);

/// A client that does not take its reply for this long is hung up on.
const REPLY_TIME: Duration = Duration::from_secs(5);

/// Answers requests. Called from several threads at a time.
pub type Handler = Arc<dyn Fn(Request) -> Reply + Send + Sync>;

/// Why there is no control socket.
#[derive(Debug)]
pub enum SocketError {
    /// Somebody answers at this path, or is about to.
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no socket is at this path; it is left alone.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The configured group does not exist.
    NoSuchGroup {
        /// The name.
        group: String,
    },
    /// The system refuses something.
    System {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl SocketError {
    /// The words for it; `None` where the system's own are all there is.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        const ANOTHER_PATH: &str = "choose another path with --control";
        match self {
            Self::InUse { path } => {
                let path = path.display();
                let cause = format!("another bypassd answers at {path}");
                Some(Advice::new(cause, format!("bypassctl --control {path} stop")).or(ANOTHER_PATH))
            }
            Self::NotASocket { path } => {
                let path = path.display();
                Some(
                    Advice::new(format!("{path} is there and is no socket"), format!("mv {path} {path}.old"))
                        .or(ANOTHER_PATH),
                )
            }
            Self::NoSuchGroup { group } => Some(
                Advice::new(
                    format!("control.group: there is no group `{group}` in /etc/group"),
                    format!("groupadd --system {group}"),
                )
                .or("name another"),
            ),
            Self::System { .. } => None,
        }
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::System { what, path, source } = self {
            return write!(f, "cannot {what} {}: {source}", path.display());
        }
        self.advice().map_or(Ok(()), |advice| advice.fmt(f))
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The socket, answering until it is dropped; then it is gone from the file system too.
#[derive(Debug)]
pub struct ControlSocket {
    place: Option<Place>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    listener: UnixListener,
    handler: Handler,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    closing: bool,
    running: Vec<(UnixStream, JoinHandle<()>)>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the file system that is ours: bound, but nobody is answered yet. Dropping it removes the socket.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    place: Place,
}

/// The path, for as long as this lives.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Device and inode, so that only our own socket is removed.
    identity: (u64, u64),
    /// Held locked for as long as the path is ours.
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // What cannot be removed now is found stale by the next start.
            drop(fs::remove_file(&self.path));
        }
        // Still locked, so that nobody else has it.
        drop(fs::remove_file(lock_path(&self.path)));
    }
}

impl BoundSocket {
    /// Takes the path. Whoever connects from now on waits.
    ///
    /// # Errors
    /// The path is in use or cannot be taken.
    pub fn bind(settings: &ControlSettings) -> Result<Self, SocketError> {
        let path = settings.socket.clone();
        let system = |what| {
            let path = path.clone();
            move |source| SocketError::System { what, path, source }
        };
        let group = settings.group.as_deref().map(|group| group_id(group, Path::new("/etc/group"))).transpose()?;
        create_directory(&path, group)?;
        let lock = lock(&path)?;
        remove_stale(&path)?;
        let listener = bind_closed(&path).map_err(system("bind the control socket"))?;
        if group.is_some() {
            std::os::unix::fs::chown(&path, None, group).map_err(system("change the group of"))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(settings.mode)).map_err(system("set the mode of"))?;
        let metadata = fs::symlink_metadata(&path).map_err(system("look at"))?;
        let place = Place { path, identity: (metadata.dev(), metadata.ino()), _lock: lock };
        Ok(Self { listener, place })
    }

    /// Begins to answer, those who wait first.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn answer(self, handler: Handler) -> Result<ControlSocket, SocketError> {
        let Self { listener, place } = self;
        let shared = Arc::new(Shared { listener, handler, clients: Mutex::default() });
        let accepting = std::thread::Builder::new()
            .name("control-accept".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || accept(&shared)
            })
            .map_err(|source| SocketError::System { what: "start a thread for", path: place.path.clone(), source })?;
        Ok(ControlSocket { place: Some(place), shared, accepting: Some(accepting) })
    }
}

impl ControlSocket {
    /// Takes the path and begins to answer.
    ///
    /// # Errors
    /// The path is in use or cannot be taken.
    pub fn open(settings: &ControlSettings, handler: Handler) -> Result<Self, SocketError> {
        BoundSocket::bind(settings)?.answer(handler)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // First of all the path: who comes now finds nobody, instead of one who ends.
        drop(self.place.take());
        let running = {
            let mut clients = self.shared.clients();
            clients.closing = true;
            std::mem::take(&mut clients.running)
        };
        // Wakes accept(2), which then fails.
        let _ = rustix::net::shutdown(&self.shared.listener, Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        for (stream, thread) in running {
            // Reading only: a reply under way still gets out, for at most REPLY_TIME.
            drop(stream.shutdown(std::net::Shutdown::Read));
            drop(thread.join());
        }
    }
}

/// Only the last component: a missing parent is more likely a typing error than a wish.
fn create_directory(path: &Path, group: Option<u32>) -> Result<(), SocketError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    let system = |source| SocketError::System { what: "create the directory", path: directory.to_owned(), source };
    match DirBuilder::new().mode(0o750).create(directory) {
        Ok(()) if group.is_some() => std::os::unix::fs::chown(directory, None, group).map_err(system),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(system(error)),
    }
}

/// Without the lock, two daemons that start together could each remove the other's socket as stale.
fn lock(path: &Path) -> Result<File, SocketError> {
    let lock_path = lock_path(path);
    let system = |what| {
        let path = lock_path.clone();
        move |source| SocketError::System { what, path, source }
    };
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    loop {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow)
            .open(&lock_path)
            .map_err(system("open the lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SocketError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(system("lock")(source)),
        }
        // Its last owner removes the file before it lets go: only a lock that is still in its place counts.
        let locked = file.metadata().map_err(system("look at the lock"))?;
        if fs::symlink_metadata(&lock_path)
            .is_ok_and(|found| found.ino() == locked.ino() && found.dev() == locked.dev())
        {
            return Ok(file);
        }
    }
}

/// The file that a daemon keeps locked for as long as it has the path.
pub(crate) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Removes what a killed daemon left behind, and nothing else.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let system = |what| move |source| SocketError::System { what, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system("remove the stale socket"))
        }
        // Full or answering: somebody is there.
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) => Err(system("find out who answers at")(error)),
    }
}

/// Binds so that there is no moment in which group or others could connect: bind(2) takes the mode from the umask.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    /// The umask belongs to the whole process; two binds at a time would restore each other's.
    static UMASK: Mutex<()> = Mutex::new(());

    struct Restore(Mode);

    impl Drop for Restore {
        fn drop(&mut self) {
            rustix::process::umask(self.0);
        }
    }

    let _one_at_a_time = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let _restore = Restore(rustix::process::umask(Mode::from_raw_mode(0o077)));
    UnixListener::bind(path)
}

/// A number, or a name in a file of the format of group(5).
/// The number of a group.
pub(crate) fn group_id(group: &str, file: &Path) -> Result<u32, SocketError> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let text = fs::read_to_string(file).map_err(|source| SocketError::System {
        what: "read",
        path: file.to_owned(),
        source,
    })?;
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
        .ok_or_else(|| SocketError::NoSuchGroup { group: group.to_owned() })
}

fn accept(shared: &Arc<Shared>) {
    loop {
        let accepted = shared.listener.accept();
        let mut clients = shared.clients();
        if clients.closing {
            return;
        }
        match accepted {
            Ok((stream, _)) => welcome(shared, &mut clients, stream),
            // Out of descriptors or memory: whoever holds them must get a chance to give them back.
            Err(_) => {
                drop(clients);
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn welcome(shared: &Arc<Shared>, clients: &mut Clients, stream: UnixStream) {
    clients.running.retain(|(_, thread)| !thread.is_finished());
    if clients.running.len() >= MAX_CLIENTS {
        let help = "close another bypassctl and try again";
        let refusal = Refusal::new(RefusalCode::Busy, format!("{MAX_CLIENTS} clients are connected already"), help);
        // The lock is held: a client that does not read must not hold it, and its empty socket buffer takes this line.
        drop(stream.set_nonblocking(true).and_then(|()| send(&stream, &Reply::Error(refusal))));
        return;
    }
    let Ok(ours) = stream.try_clone().map(Connection) else { return };
    let handler = Arc::clone(&shared.handler);
    let thread = std::thread::Builder::new()
        .name("control-client".to_owned())
        // A connection that breaks is its client's business.
        .spawn(move || drop(serve(&ours.0, &handler)));
    if let Ok(thread) = thread {
        clients.running.push((stream, thread));
    }
}

/// Hung up when it is dropped, by a panic of the handler too, although the list of clients still has its descriptor.
struct Connection(UnixStream);

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.0.shutdown(std::net::Shutdown::Both));
    }
}

/// Answers one client, request by request, until it hangs up, is too slow or sends what is no request line.
fn serve(stream: &UnixStream, handler: &Handler) -> io::Result<()> {
    stream.set_write_timeout(Some(REPLY_TIME))?;
    let mut reader = BufReader::with_capacity(REQUEST_MAX_BYTES, Timed { stream, deadline: Instant::now() });
    loop {
        reader.get_mut().deadline = Instant::now() + REQUEST_TIME;
        let mut line = Vec::new();
        let limit = u64::try_from(REQUEST_MAX_BYTES).unwrap_or(u64::MAX);
        reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            let message = format!("a request is one line of at most {REQUEST_MAX_BYTES} bytes");
            return send(stream, &Reply::Error(Refusal::new(RefusalCode::BadRequest, message, EXAMPLE)));
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => handler(request),
            Err(error) => Reply::Error(Refusal::new(RefusalCode::BadRequest, format!("no request: {error}"), EXAMPLE)),
        };
        send(stream, &reply)?;
    }
}

const EXAMPLE: &str = r#"send {"words":["show","workers"]} and a newline"#;

fn send(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads until a deadline, however slowly the bytes drip in.
struct Timed<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        (&mut &*self.stream).read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name_or_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("group");
        fs::write(&file, "root:x:0:\nbroken\nboot:x:987:ann,bob\n").unwrap();
        assert_eq!(group_id("boot", &file).unwrap(), 987);
        assert_eq!(group_id("12", &file).unwrap(), 12);
        assert!(matches!(group_id("broken", &file), Err(SocketError::NoSuchGroup { .. })));
        assert!(matches!(group_id("ann", &file), Err(SocketError::NoSuchGroup { .. })));
    }

    #[test]
    fn the_socket_is_closed_to_others_from_its_first_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = bind_closed(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }
}
