//! Lines of the log. One that cannot be written must not end a service that can go on; before there is a log, they go to standard
//! error as they are.

use std::fmt;
use std::io::{self, Write};

use tracing::dispatcher::has_been_set;

/// Says a line.
pub fn say(line: impl fmt::Display) {
    if has_been_set() { tracing::info!("{line}") } else { write_plain(&line) }
}

/// Says a line that somebody should look at.
pub fn warn(line: impl fmt::Display) {
    if has_been_set() { tracing::warn!("{line}") } else { write_plain(&line) }
}

/// Says why the service does not serve.
pub fn say_error(line: impl fmt::Display) {
    if has_been_set() { tracing::error!("{line}") } else { write_plain(&line) }
}

fn write_plain(line: &dyn fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// The log, for what writes lines to a [`Write`]; one line per call of `writeln!`.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let rest = self.begun.split_off(end + 1);
            say(String::from_utf8_lossy(&self.begun[..end]));
            self.begun = rest;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
