//! Letters from control to a worker. Bounded both ways; neither side ever waits inside the poll loop.

use super::tap::Taps;
use crate::engine::{SessionView, Shelfmark, Terms, Title, Unavailable};
use crate::files::Catalogue;
use crate::rules::Rules;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use thiserror::Error;

/// Letters that may lie in a mailbox.
const LETTERS: usize = 16;

/// What control may ask of a worker.
#[derive(Debug)]
pub enum Letter {
    /// Copy some sessions out.
    Sessions(SessionsPage),
    /// Serve other files, or by other terms or rules.
    Renew(Renewal),
    /// Tell the link of this lane (port) who has our addresses: it was away, and the switch may be another.
    Announce {
        /// Which of the worker's lanes.
        lane: usize,
    },
    /// Let others look on, or no longer.
    Taps(TapOrder),
    /// Serve a file that was loaded on demand.
    Shelve(Shelving),
    /// Give places back whose files nobody reads.
    Unshelve(Unshelving),
    /// Tell those who wait for a file that it does not come.
    NotAvailable(Title, Unavailable),
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

/// What is new; what is `None` stays as it is.
///
/// Control keeps references to catalogue and rules for as long as anybody else may have one, so that a worker never has the last:
/// giving back the memory takes a while.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Files for new transfers.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Policy and limits.
    pub terms: Option<Terms>,
    /// Rules about clients and names, or from now on none.
    pub rules: Option<Option<Arc<Rules>>>,
}

impl News {
    /// Whether nothing is new.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.catalogue.is_none() && self.terms.is_none() && self.rules.is_none()
    }
}

/// Something new to take over: all of it in all lanes, or nothing.
#[derive(Debug)]
pub struct Renewal {
    /// It.
    pub news: News,
    /// In the answer: it was done. Otherwise a lane has no place for another generation yet.
    pub done: bool,
    answer: Sender<Renewal>,
}

impl Renewal {
    /// What is to be taken over, and where the answer will be.
    #[must_use]
    pub fn ask(news: News) -> (Self, Receiver<Self>) {
        let (answer, answered) = bounded(1);
        (Self { news, done: false, answer }, answered)
    }

    pub(super) fn reply(self) {
        let answer = self.answer.clone();
        // An asker that has gone takes no answer.
        let _ = answer.try_send(self);
    }
}

/// A file for a place on a worker's shelf. Its sender keeps it too, so that its memory never goes on a worker.
#[derive(Clone, Debug)]
pub struct Shelving {
    /// Where.
    pub mark: Shelfmark,
    /// Which file it is.
    pub title: Title,
    /// Its bytes.
    pub volume: Arc<Catalogue>,
}

/// Places that a worker is asked to give back.
#[derive(Debug)]
pub struct Unshelving {
    /// In the answer: those that it gave back; it still reads from the others.
    pub marks: Vec<Shelfmark>,
    answer: Sender<Unshelving>,
}

impl Unshelving {
    /// A request for these places, and where its answer will be.
    #[must_use]
    pub fn ask(marks: Vec<Shelfmark>) -> (Self, Receiver<Self>) {
        let (answer, answered) = bounded(1);
        (Self { marks, answer }, answered)
    }

    pub(super) fn reply(self) {
        let answer = self.answer.clone();
        // An asker that has gone takes no answer.
        let _ = answer.try_send(self);
    }
}

/// Who looks on from now on, in memory that the sender brings; those before come back, so that no worker frees anything.
#[derive(Debug)]
pub struct TapOrder {
    /// Which of the worker's lanes (ports).
    pub lane: usize,
    /// In the answer: those before.
    pub taps: Option<Box<Taps>>,
    answer: Sender<TapOrder>,
}

impl TapOrder {
    /// An order, and where those before will be. When they are there, nothing is written to them any more.
    #[must_use]
    pub fn new(lane: usize, taps: Option<Box<Taps>>) -> (Self, Receiver<Self>) {
        let (answer, answered) = bounded(1);
        (Self { lane, taps, answer }, answered)
    }

    pub(super) fn reply(self) {
        let answer = self.answer.clone();
        // A sender that has gone takes no answer.
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

    /// Puts a letter in, or gives it back where there is no room for it now.
    ///
    /// # Errors
    /// The letter.
    #[expect(clippy::result_large_err, reason = "in a box it would be the worker that frees it")]
    pub fn offer(&self, letter: Letter) -> Result<(), Letter> {
        self.0.try_send(letter).map_err(crossbeam::channel::TrySendError::into_inner)
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
