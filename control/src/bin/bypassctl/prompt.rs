//! The prompt: one line at a time, with history and completion. Ends by `quit` or Ctrl-D, never by a mistake or a missing daemon.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::rc::Rc;

use control::ctl::complete::{Sources, offers};
use control::ctl::{DONE, Screen, Session};
use control::protocol::RawReply;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

const PROMPT: &str = "bypassctl> ";

/// Lines that are remembered.
const HISTORY: usize = 1_000;

/// Reads lines and says them until the end; the status is that of a prompt that was left as it should be.
pub(crate) fn run(session: Session, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let session = Rc::new(RefCell::new(session));
    let config = Config::builder()
        .history_ignore_dups(true)
        .and_then(|builder| builder.max_history_size(HISTORY))
        .map_err(readline)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Editor<Completion, FileHistory> = Editor::with_config(config).map_err(readline)?;
    editor.set_helper(Some(Completion { session: Rc::clone(&session), files: FilenameCompleter::new() }));
    let history = history_file();
    if let Some(path) = &history {
        // There is none before the first end.
        drop(editor.load_history(path));
    }
    writeln!(
        out,
        "bypassd at {}. `help` shows what can be said, Tab completes, Ctrl-D ends.",
        session.borrow().path().display()
    )?;
    let mut screen = Screen::new(out, err);
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    editor.add_history_entry(&line).map_err(readline)?;
                }
                if session.borrow_mut().say_line(&line, &mut screen)?.quit {
                    break;
                }
            }
            // A line that is given up.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(readline(error)),
        }
    }
    if let Some(path) = &history {
        remember(&mut editor, path);
    }
    Ok(DONE)
}

fn readline(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// As the XDG base directory specification has it; none without a home.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("bypassd/bypassctl_history"))
}

/// A history that cannot be kept is no reason to complain.
fn remember(editor: &mut Editor<Completion, FileHistory>, path: &PathBuf) {
    if let Some(directory) = path.parent() {
        drop(DirBuilder::new().recursive(true).mode(0o700).create(directory));
    }
    drop(editor.append_history(path));
}

/// What Tab asks.
struct Completion {
    session: Rc<RefCell<Session>>,
    files: FilenameCompleter,
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let offers = offers(line.get(..at).unwrap_or(line), self);
        if offers.path && offers.words.is_empty() {
            return self.files.complete(line, at, context);
        }
        let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
        Ok((offers.start, offers.words.into_iter().map(pair).collect()))
    }
}

impl Completion {
    /// Texts found at `field` of each of the `list` of an answer; nothing where there is no daemon.
    fn ask(&self, words: &[&str], list: &str, field: &str) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let Ok(RawReply::Ok(answer)) = self.session.borrow().ask(&words) else { return Vec::new() };
        let text = |entry: &serde_json::Value| match &entry[field] {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        answer[list].as_array().into_iter().flatten().filter_map(text).collect()
    }
}

impl Sources for Completion {
    fn ports(&self) -> Vec<String> {
        self.ask(&["show", "port", "stats", "all"], "ports", "port")
    }

    fn clients(&self) -> Vec<String> {
        let address = |client: String| client.parse().map(|client: std::net::SocketAddr| client.ip().to_string()).ok();
        self.ask(&["show", "sessions"], "sessions", "client").into_iter().filter_map(address).collect()
    }
}

impl Helper for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}
