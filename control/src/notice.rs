//! Lines for people, on standard error. One that cannot be written must not end a service that can go on.

use std::fmt;
use std::io::{self, Write};

/// Says a line.
pub fn say(line: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}
