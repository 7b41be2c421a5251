//! The client side of the control socket. Every error says what to do about it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::protocol::{REPLY_MAX_BYTES, RawReply, Request};

/// A daemon that has not answered after this is not going to.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no socket.
    #[error(
        "there is no control socket at {}: bypassd is not running, or listens elsewhere\n\
         help: start it (bypassd run …), or name its socket: bypassctl --control SOCKET …",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// We may not use it.
    #[error(
        "no permission to use the control socket {}\n\
         help: run it as root (sudo bypassctl …), or set mode = \"0660\" and group = … in [control] and join that group",
        path.display()
    )]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is there, but nobody listens.
    #[error(
        "nobody answers at {}: bypassd was killed and left its socket behind\n\
         help: start it again (bypassd run …), which removes the old socket",
        path.display()
    )]
    Refused {
        /// The socket.
        path: PathBuf,
    },
    /// It listens but does not answer.
    #[error(
        "bypassd did not answer at {} within {} s\n\
         help: look at its log (journalctl -u bypassd); kill -TERM it twice to stop it at once",
        path.display(), ANSWER_TIME.as_secs()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// What came back is no reply.
    #[error(
        "what answers at {} does not speak this protocol: {what}\n\
         help: use the bypassctl of the same version, or name another socket with --control",
        path.display()
    )]
    Nonsense {
        /// The socket.
        path: PathBuf,
        /// What was wrong with it.
        what: String,
    },
    /// Anything else.
    #[error("cannot use the control socket {}: {source}", path.display())]
    Other {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn classify(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => ClientError::Missing { path },
        io::ErrorKind::PermissionDenied => ClientError::Permission { path },
        io::ErrorKind::ConnectionRefused => ClientError::Refused { path },
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent { path },
        _ => ClientError::Other { path, source },
    }
}

/// Asks one thing. With `patient` the answer may take as long as it takes.
///
/// # Errors
/// There was no answer, or none that can be read.
pub fn ask(path: &Path, request: &Request, patient: bool) -> Result<RawReply, ClientError> {
    let line = exchange(path, request, patient).map_err(|source| classify(path, source))?;
    let nonsense = |what: String| ClientError::Nonsense { path: path.to_owned(), what };
    if !line.ends_with(b"\n") {
        return Err(nonsense(format!("the reply broke off after {} bytes", line.len())));
    }
    serde_json::from_slice(&line).map_err(|error| nonsense(error.to_string()))
}

fn exchange(path: &Path, request: &Request, patient: bool) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout((!patient).then_some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let sent = stream.write_all(&line);
    let mut reply = Vec::new();
    BufReader::new((&stream).take(REPLY_MAX_BYTES)).read_until(b'\n', &mut reply)?;
    // A busy daemon refuses and hangs up before it reads; its reason is worth more than our broken pipe.
    if reply.is_empty() {
        sent?;
    }
    Ok(reply)
}
