//! Finished transfers and refused requests on their way to control's log: records of fixed size in a bounded ring that the worker
//! never waits for. What finds no room is counted and gone.

use crate::counter::Counter;
use crate::engine::{Ending, Finished, NAME_KEPT, Refused};
use crate::tftp::ErrorCode;
use core::net::IpAddr;
use crossbeam::queue::ArrayQueue;

/// Most bytes that are kept of a client's ERROR text.
const TEXT_KEPT: usize = 40;

/// Bytes from the network or a file name, cut after `N`.
#[derive(Clone, Copy, Debug)]
pub struct Cut<const N: usize> {
    bytes: [u8; N],
    len: u8,
    is_cut: bool,
}

impl<const N: usize> Cut<N> {
    /// Keeps the beginning of a text that had `len` bytes, of which `bytes` are left.
    #[must_use]
    pub fn new(bytes: &[u8], len: usize) -> Self {
        const { assert!(N <= u8::MAX as usize, "its length is kept in a byte") };
        let kept = bytes.len().min(N);
        let mut cut = Self { bytes: [0; N], len: u8::try_from(kept).unwrap_or(u8::MAX), is_cut: kept < len };
        cut.bytes[..kept].copy_from_slice(&bytes[..kept]);
        cut
    }

    /// What was kept. Escape it before printing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether there was more.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }
}

/// One line of the log in the making.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The client's address and UDP port.
    pub client: (IpAddr, u16),
    /// Our address.
    pub server: IpAddr,
    /// The file's own name, or that which was asked for.
    pub name: Cut<NAME_KEPT>,
    /// What happened.
    pub what: What,
}

/// What a record tells of.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A transfer that ended.
    Ended(Ended),
    /// A request that was refused.
    Refused {
        /// The ERROR's code.
        code: ErrorCode,
        /// The ERROR's text.
        reason: &'static str,
        /// It wanted to write.
        is_write: bool,
    },
}

/// A transfer that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// How.
    pub ending: Ending,
    /// Our TID.
    pub tid: u16,
    /// Bytes that the client acknowledged.
    pub bytes: u64,
    /// Bytes of the whole stream: for netascii more than the file has.
    pub stream_bytes: u64,
    /// From the request to the end.
    pub duration_us: u64,
    /// Blocks that went out more than once; 65535 stands for more, too.
    pub blocks_again: u16,
    /// Deadlines that passed without an answer; 127 stands for more, too.
    pub timeouts: u16,
    /// Bytes in a block.
    pub blksize: u16,
    /// Blocks in a window.
    pub window: u8,
    /// It was in netascii mode.
    pub netascii: bool,
    /// Code and text of the client's ERROR, where that was the end.
    pub error: Option<(u16, Cut<TEXT_KEPT>)>,
}

impl Record {
    fn ended(finished: &Finished<'_>) -> Self {
        let client = finished.client();
        let (server, tid) = finished.server();
        let name = finished.name();
        Self {
            client: (client.ip(), client.port()),
            server,
            name: Cut::new(name, name.len()),
            what: What::Ended(Ended {
                ending: finished.ending(),
                tid,
                bytes: finished.bytes(),
                stream_bytes: finished.stream_bytes(),
                duration_us: finished.duration().micros(),
                blocks_again: finished.blocks_again(),
                timeouts: finished.timeouts(),
                blksize: finished.blksize(),
                window: finished.window(),
                netascii: finished.is_netascii(),
                error: finished.error().map(|(code, text)| (code, Cut::new(text, text.len()))),
            }),
        }
    }

    fn refused(refused: &Refused<'_>) -> Self {
        let Refused { client, server, code, reason, is_write, name, name_len } = *refused;
        Self {
            client: (client.ip(), client.port()),
            server,
            name: Cut::new(name, name_len),
            what: What::Refused { code, reason, is_write },
        }
    }
}

/// Records of one worker on one port, oldest first.
#[derive(Debug)]
pub struct RecordRing {
    queue: ArrayQueue<Record>,
    lost: Counter,
}

impl RecordRing {
    /// A ring for `capacity` records (about 300 bytes each), at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity.max(1)), lost: Counter::default() }
    }

    #[cold]
    pub(super) fn push_ended(&self, finished: &Finished<'_>) {
        self.push_with(|| Record::ended(finished));
    }

    #[cold]
    pub(super) fn push_refused(&self, refused: &Refused<'_>) {
        self.push_with(|| Record::refused(refused));
    }

    /// Puts a record in, made only where there is room for it; only its own worker may.
    pub fn push_with(&self, record: impl FnOnce() -> Record) {
        if self.queue.is_full() || self.queue.push(record()).is_err() {
            self.lost.add(1);
        }
    }

    /// The oldest record, for the one reader.
    #[must_use]
    pub fn pop(&self) -> Option<Record> {
        self.queue.pop()
    }

    /// Records that found no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_says_so() {
        let cut = Cut::<4>::new(b"abcdef", 6);
        assert_eq!((cut.as_bytes(), cut.is_cut()), (&b"abcd"[..], true));
        let whole = Cut::<4>::new(b"abcd", 4);
        assert_eq!((whole.as_bytes(), whole.is_cut()), (&b"abcd"[..], false));
        assert!(Cut::<4>::new(b"abcd", 9).is_cut(), "it was cut before it came here");
    }

    #[test]
    fn a_record_stays_small() {
        assert!(size_of::<Record>() <= 320, "{}", size_of::<Record>());
    }
}
