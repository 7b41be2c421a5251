//! Lines from a file or a pipe, said one after the other, up to the first that fails unless told otherwise. A line is split as a
//! shell splits it; `#` begins a comment.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::session::{Said, Screen, Session};
use super::{DONE, NOT_DONE, WRONG_USAGE};
use crate::tables::escaped;

/// Files that may load each other.
const DEPTH: usize = 8;

/// The words of a line; none when a quotation does not end.
#[must_use]
pub fn split(line: &str) -> Option<Vec<String>> {
    shlex::split(line)
}

impl Session {
    /// Says the lines of a file.
    ///
    /// # Errors
    /// The screen cannot be written to.
    pub fn load(&mut self, path: &Path, screen: &mut Screen<'_>) -> io::Result<Said> {
        let name = escaped(&path.display().to_string());
        if self.depth >= DEPTH {
            screen.complain(
                &format!("{name}: files load each other more than {DEPTH} deep"),
                "look for a file that loads itself",
            )?;
            return Ok(Said::with(WRONG_USAGE));
        }
        match File::open(path) {
            Ok(file) => self.say_lines(&mut BufReader::new(file), &name, screen),
            Err(error) => {
                screen.complain(&format!("cannot read {name}: {error}"), "")?;
                Ok(Said::with(NOT_DONE))
            }
        }
    }

    /// Says lines until one fails, one says `quit`, or there are no more. The status is that of the first that failed.
    ///
    /// # Errors
    /// The screen cannot be written to.
    pub fn say_lines(&mut self, input: &mut dyn BufRead, name: &str, screen: &mut Screen<'_>) -> io::Result<Said> {
        let outer = screen.place.take();
        self.depth += 1;
        let said = self.each_line(input, name, screen);
        self.depth -= 1;
        screen.place = outer;
        said
    }

    fn each_line(&mut self, input: &mut dyn BufRead, name: &str, screen: &mut Screen<'_>) -> io::Result<Said> {
        let mut first_failure = DONE;
        for (line, number) in input.lines().zip(1_u64..) {
            screen.place = Some(format!("{name}:{number}"));
            let said = match line {
                Ok(line) => self.say_line(&line, screen)?,
                Err(error) => {
                    screen.complain(&format!("cannot be read: {error}"), "")?;
                    // What the end of the line is, is not known any more.
                    return Ok(Said::with(if first_failure == DONE { NOT_DONE } else { first_failure }));
                }
            };
            if first_failure == DONE {
                first_failure = said.status;
            }
            if said.quit || (said.status != DONE && !self.keep_going) {
                return Ok(Said { status: first_failure, quit: said.quit });
            }
        }
        Ok(Said::with(first_failure))
    }

    /// Says one line as it was typed; an empty one says nothing.
    ///
    /// # Errors
    /// The screen cannot be written to.
    pub fn say_line(&mut self, line: &str, screen: &mut Screen<'_>) -> io::Result<Said> {
        let Some(words) = split(line) else {
            screen.complain("a quotation has no end", "close it, or write \\\" for the sign itself")?;
            return Ok(Said::with(WRONG_USAGE));
        };
        if words.is_empty() { Ok(Said::with(DONE)) } else { self.say(&words, screen) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Environment;

    /// Nobody listens, so that only bypassctl's own words succeed.
    fn say(text: &[u8], keep_going: bool) -> (Said, String, String) {
        let nowhere = Some("/nonexistent/control.sock".into());
        let mut session = Session::new(nowhere, Environment::default(), false, keep_going);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err);
        let said = session.say_lines(&mut &*text, "f", &mut screen).unwrap();
        (said, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let (said, out, err) = say(b"# a comment\n\n   \nhelp quit # and this\n", false);
        assert_eq!((said, err.as_str()), (Said::with(DONE), ""));
        assert!(out.contains("quit") && out.lines().count() == 1, "{out}");
    }

    #[test]
    fn the_first_failure_ends_it_with_its_place() {
        let (said, out, err) = say(b"help quit\nshwo\nhelp quit\n", false);
        assert_eq!((said, out.lines().count()), (Said::with(WRONG_USAGE), 1));
        assert!(err.starts_with("bypassctl: f:2: unknown word `shwo`\nhelp: did you mean `show`?"), "{err}");
        let (said, _, err) = say(b"help 'quit\n", false);
        assert_eq!(said, Said::with(WRONG_USAGE));
        assert!(err.contains("f:1: a quotation has no end"), "{err}");
        let (said, _, err) = say(b"show workers\n", false);
        assert_eq!(said, Said::with(NOT_DONE));
        assert!(err.contains("f:1: there is no control socket"), "{err}");
    }

    #[test]
    fn told_to_it_goes_on_and_keeps_the_first_status() {
        let (said, out, err) = say(b"shwo\nshow workers\nhelp quit\n", true);
        assert_eq!((said, out.lines().count()), (Said::with(WRONG_USAGE), 1));
        assert!(err.contains("f:1: ") && err.contains("f:2: "), "{err}");
    }

    #[test]
    fn quit_ends_the_file_that_loads_too() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner file");
        std::fs::write(&inner, "quit\nhelp quit\n").unwrap();
        let (said, out, _) = say(format!("load '{}'\nhelp quit\n", inner.display()).as_bytes(), false);
        assert!(said.quit && said.status == DONE && out.is_empty(), "{out}");
    }

    #[test]
    fn a_file_that_loads_itself_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        std::fs::write(&own, format!("load {}\n", own.display())).unwrap();
        let (said, _, err) = say(format!("load {}\n", own.display()).as_bytes(), false);
        assert_eq!(said, Said::with(WRONG_USAGE));
        assert!(err.contains("own:1: ") && err.contains("more than 8 deep"), "{err}");
    }

    #[test]
    fn bytes_that_are_no_text_end_it() {
        let (said, _, err) = say(b"help quit\n\xff\xfe\n", true);
        assert_eq!(said, Said::with(NOT_DONE));
        assert!(err.contains("f:2: cannot be read"), "{err}");
    }
}
