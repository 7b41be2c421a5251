//! Letters from control to a worker. Bounded both ways; neither side ever waits inside the poll loop.

use crate::engine::SessionView;
use crossbeam::channel::{Receiver, Sender, bounded};
use thiserror::Error;

/// Letters that may lie in a mailbox.
const LETTERS: usize = 16;

/// What control may ask of a worker.
#[derive(Debug)]
pub enum Letter {
    /// Copy some sessions out.
    Sessions(SessionsPage),
    /// Tell the link of this lane (port) who has our addresses: it was away, and the switch may be another.
    Announce {
        /// Which of the worker's lanes.
        lane: usize,
    },
    /// Fail, to show what follows.
    #[cfg(feature = "fault-injection")]
    Panic,
    /// Stand still for so long, to show what follows.
    #[cfg(feature = "fault-injection")]
    Stall(core::time::Duration),
}

/// A part of a session table, copied into memory that the asker brought.
#[derive(Debug)]
pub struct SessionsPage {
    /// Which of the worker's lanes (ports).
    pub lane: usize,
    /// First place to look at; in the answer: the place behind the last.
    pub from: u32,
    /// Empty, its capacity says how many places to look at; in the answer: the live ones.
    pub sessions: Vec<SessionView>,
    /// In the answer: the table ends here.
    pub at_end: bool,
    answer: Sender<SessionsPage>,
}

impl SessionsPage {
    /// A question about `places` places of a lane's table from `from` on, and where its answer will be.
    #[must_use]
    pub fn ask(lane: usize, from: u32, places: usize) -> (Self, Receiver<Self>) {
        let (answer, answered) = bounded(1);
        (Self { lane, from, sessions: Vec::with_capacity(places), at_end: false, answer }, answered)
    }

    pub(super) fn reply(self) {
        let answer = self.answer.clone();
        // An asker that has gone takes no answer.
        let _ = answer.try_send(self);
    }
}

/// The worker takes no letter: its mailbox is full, or it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the worker takes no letters: it is busy or has ended")]
pub struct Undeliverable;

/// Control's end.
#[derive(Clone, Debug)]
pub struct LetterBox(Sender<Letter>);

impl LetterBox {
    /// Puts a letter in.
    ///
    /// # Errors
    /// [`Undeliverable`].
    pub fn send(&self, letter: Letter) -> Result<(), Undeliverable> {
        self.0.try_send(letter).map_err(|_| Undeliverable)
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Mailbox(Receiver<Letter>);

impl Mailbox {
    pub(super) fn next(&self) -> Option<Letter> {
        self.0.try_recv().ok()
    }
}

/// Both ends of a mailbox.
#[must_use]
pub fn mailbox() -> (LetterBox, Mailbox) {
    let (sender, receiver) = bounded(LETTERS);
    (LetterBox(sender), Mailbox(receiver))
}
