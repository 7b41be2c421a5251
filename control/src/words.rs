//! The words of `bypassctl`: one table of what can be said, how the daemon answers it and how bypassctl reads the answer. What is
//! said at its command line, at its prompt and in its files is read here, and nowhere else.

mod answers;
mod look;
mod table;

use crossbeam::channel::Sender;

pub use table::WORDS;

use crate::fleet::Fleet;
use crate::grammar::{self, Arguments, Expected, Form, WordsError};
use crate::protocol::{Body, Refusal, RefusalCode, Reply, Request};
use crate::supervisor::Order;

/// What an answer is made from.
pub struct Asked<'a> {
    /// The running dataplane.
    pub fleet: &'a dyn Fleet,
    /// Where orders go.
    pub orders: &'a Sender<Order>,
}

/// The daemon's side of a word.
#[derive(Clone, Copy)]
pub struct Asks {
    /// Makes the answer.
    pub answer: fn(&Asked<'_>, &Arguments) -> Result<Body, Refusal>,
    /// Reads it at the other end. Fails when the daemon is of another version.
    pub decode: fn(serde_json::Value) -> Result<Body, serde_json::Error>,
    /// Whether the answer may take as long as it takes.
    pub patient: bool,
}

/// What bypassctl does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Shows what can be said.
    Help,
    /// Says no more.
    Quit,
    /// Says the lines of a file.
    Load,
    /// Shows what happens now, again and again.
    Top,
    /// Shows a trace's lines as they come.
    Trace,
}

/// Who acts on a word.
#[derive(Clone, Copy)]
pub enum Does {
    /// The daemon.
    Asks(Asks),
    /// bypassctl.
    Local(Local),
    /// The daemon first; then bypassctl goes on asking.
    Follows(Asks, Local),
}

/// One entry of the table.
#[derive(Clone, Copy)]
pub struct Word {
    /// How it is said, and its line of help.
    pub form: Form,
    /// What it does.
    pub does: Does,
}

/// Words that were understood.
#[derive(Clone)]
pub struct Command {
    /// Which.
    pub word: &'static Word,
    /// Their values.
    pub arguments: Arguments,
}

fn forms() -> impl Iterator<Item = &'static Form> {
    WORDS.iter().map(|word| &word.form)
}

impl Command {
    /// Understands the words.
    ///
    /// # Errors
    /// They mean nothing; the error says what is known at the first wrong place.
    pub fn parse(words: &[String]) -> Result<Self, WordsError> {
        let (at, arguments) = grammar::read(forms(), words)?;
        Ok(Self { word: &WORDS[at], arguments })
    }
}

/// What may follow these words.
#[must_use]
pub fn expected(words: &[String]) -> Vec<Expected> {
    grammar::expected(forms(), words)
}

/// One line for each thing that can be said and begins with these words; none when nothing does.
#[must_use]
pub fn help(words: &[String]) -> Vec<String> {
    let lines: Vec<(String, &str)> =
        forms().filter(|form| form.begins_with(words)).map(|form| (form.to_string(), form.help)).collect();
    // A long form must not push the help of all others to the right.
    let width = lines.iter().map(|(form, _)| form.len()).filter(|&len| len <= HELP_COLUMN).max().unwrap_or(0);
    let line = |(form, help): &(String, &str)| {
        if form.len() > width {
            format!("  {form}\n  {:width$}  {help}", "")
        } else {
            format!("  {form:width$}  {help}")
        }
    };
    lines.iter().map(line).collect()
}

/// Longest form that has its help beside it, in characters.
const HELP_COLUMN: usize = 34;

/// Answers one request.
pub fn answer(request: &Request, fleet: &dyn Fleet, orders: &Sender<Order>) -> Reply {
    let command = match Command::parse(&request.words) {
        Ok(command) => command,
        Err(error) => return Reply::Error(Refusal::new(RefusalCode::UnknownWords, error.to_string(), error.help())),
    };
    match command.word.does {
        Does::Asks(asks) | Does::Follows(asks, _) => {
            match (asks.answer)(&Asked { fleet, orders }, &command.arguments) {
                Ok(body) => Reply::Ok(body),
                Err(refusal) => Reply::Error(refusal),
            }
        }
        Does::Local(_) => {
            let message = format!("`{}` is for bypassctl itself", command.word.form);
            Reply::Error(Refusal::new(RefusalCode::UnknownWords, message, "say it to bypassctl, not to the socket"))
        }
    }
}

#[cfg(test)]
mod tests;
