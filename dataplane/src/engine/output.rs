//! What an engine hands out: frames, and what happened. Implemented by the worker and by tests; the engine itself keeps no count.

use super::finished::{Finished, Refused};
use crate::files::FileTally;
use crate::port::{Frame, Payload, TooLong};
use crate::session::WorkerIndex;
use crate::time::Duration;

/// Where the engine's frames and reports go.
pub trait Output {
    /// The port's frame type.
    type Frame: Frame;

    /// An empty frame; `None` when the pool is empty.
    fn allocate(&mut self) -> Option<Self::Frame>;

    /// How many frames [`send`](Self::send) takes now. Replies to received frames may exceed what windows may use: the
    /// worker keeps room for a burst of them.
    fn room(&self) -> usize;

    /// Queues a frame.
    fn send(&mut self, frame: Self::Frame);

    /// Whether the port completes checksums.
    fn completes_checksums(&self) -> bool;

    /// Makes a frame `header_len` bytes of no particular content with file bytes behind them, by reference or by one copy;
    /// returns the former.
    ///
    /// # Errors
    /// [`TooLong`] when they do not fit; the frame is unchanged.
    fn compose<'f>(
        &mut self,
        frame: &'f mut Self::Frame,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong>;

    /// Whether [`compose`](Self::compose) reads a payload of `len` bytes; else it only refers to it.
    fn copies(&self, len: u16) -> bool;

    /// Brings a place near that will be read soon.
    fn prefetch<T>(&self, place: &T);

    /// Passes a received frame to the worker that owns its flow.
    ///
    /// # Errors
    /// Gives the frame back when that worker's ring is full.
    fn hand_over(&mut self, owner: WorkerIndex, frame: Self::Frame) -> Result<(), Self::Frame>;

    /// Gives a received frame that is not ours to the kernel interface.
    ///
    /// # Errors
    /// Gives the frame back when the interface has no room, or there is none.
    fn to_kernel(&mut self, frame: Self::Frame) -> Result<(), Self::Frame>;

    /// Reports something that no received frame stands for.
    fn report(&mut self, event: Event<'_>);
}

/// What happened to transfers and their data.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A DATA packet with this many file bytes was queued.
    BlockSent {
        /// Payload bytes.
        bytes: u16,
        /// It went out before.
        repeat: bool,
    },
    /// The port had no frame for an OACK or a block: the timer repairs it.
    PoolEmpty,
    /// A transfer began.
    Opened {
        /// Where this worker counts for the file.
        tally: Option<&'a FileTally>,
    },
    /// The first DATA of a transfer was queued, as the answer to its request.
    FirstData,
    /// The same behind an OACK, as the answer to the client's ACK of it.
    FirstDataAfterOffer {
        /// From the burst that brought the request to the one that brought the ACK.
        waited: Duration,
    },
    /// A transfer ended.
    Ended(&'a Finished<'a>),
    /// A request was answered with an ERROR.
    Refused(&'a Refused<'a>),
    /// Something about a file that is loaded on demand.
    Cache(CacheEvent),
}

/// What happened to requests for files that are loaded on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheEvent {
    /// A transfer began whose file was there.
    Hit,
    /// A request found its file not there.
    Miss,
    /// Nobody could be told which file is wanted: the client's repeat asks again.
    WantLost,
    /// A request that had waited got its answer.
    ParkedAnswered,
    /// One got none: too many waited, it waited too long, or a limit was in the way.
    ParkedLost,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// The last block was acknowledged.
    Done,
    /// The client answered our first reply, everything was sent at least once, and the last ACK never came: silence, or ICMP
    /// says that nobody listens there any more. The client may well have it all.
    Unconfirmed,
    /// The client wanted to know something, as boot ROMs ask for the size: an ERROR before it acknowledged any DATA, or, behind an
    /// OACK that told the size and nothing else, silence or ICMP.
    Probe,
    /// The client aborted with an ERROR after it had acknowledged DATA.
    Aborted,
    /// The client fell silent in mid-transfer: it had answered, and not everything had been sent.
    TimedOut,
    /// The client never answered our first reply (which told it no size).
    Unanswered,
    /// The same client port asked for something else, or again after a silence.
    Replaced,
    /// Made room for a newer one while its client had not answered yet.
    Evicted,
    /// ICMP says that nobody listens there, and not everything had been sent: the client's program has ended.
    Unreachable,
    /// Took longer than any transfer may.
    Overdue,
    /// The worker ended in the middle of it.
    CutOff,
}

impl Ending {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Done,
        Self::Unconfirmed,
        Self::Probe,
        Self::Aborted,
        Self::TimedOut,
        Self::Unanswered,
        Self::Replaced,
        Self::Evicted,
        Self::Unreachable,
        Self::Overdue,
        Self::CutOff,
    ];

    /// Its name in statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unconfirmed => "unconfirmed",
            Self::Probe => "probe",
            Self::Aborted => "aborted",
            Self::TimedOut => "timed_out",
            Self::Unanswered => "unanswered",
            Self::Replaced => "replaced",
            Self::Evicted => "evicted",
            Self::Unreachable => "unreachable",
            Self::Overdue => "overdue",
            Self::CutOff => "cut_off",
        }
    }
}
