//! A transfer that has just ended, and a request that was just refused, as the worker may ask about them: by reference, nothing is
//! worked out that nobody wants to know.

use super::Engine;
use super::generations::Source;
use super::output::Ending;
use crate::files::FileTally;
use crate::session::{Client, Session, SlotId};
use crate::tftp::ErrorCode;
use crate::time::{Duration, Instant};
use core::net::IpAddr;

/// A transfer at its end, before its session changes or goes.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    pub(super) ending: Ending,
    pub(super) now: Instant,
    pub(super) engine: &'a Engine,
    pub(super) slot: SlotId,
    pub(super) error: Option<(u16, &'a [u8])>,
}

impl<'a> Finished<'a> {
    #[inline]
    fn session(&self) -> &'a Session {
        self.engine.table.get(self.slot)
    }

    /// How it ended.
    #[must_use]
    pub const fn ending(&self) -> Ending {
        self.ending
    }

    /// Whom it served.
    #[must_use]
    pub fn client(&self) -> Client {
        self.session().client()
    }

    /// Our address and TID.
    #[must_use]
    pub fn server(&self) -> (IpAddr, u16) {
        (self.engine.interface.address(self.session().local()), self.engine.table.tid(self.slot))
    }

    /// The file's own name, whatever alias the client asked for. Escape it before printing.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        let (catalogue, file) = self.engine.generations.open(Source::of(self.session()));
        catalogue.file(file).name()
    }

    /// Bytes of the stream: for netascii more than the file has.
    #[must_use]
    pub fn stream_bytes(&self) -> u64 {
        let session = self.session();
        let (catalogue, file) = self.engine.generations.open(Source::of(session));
        catalogue.stream_len(file, session.transfer.is_netascii())
    }

    /// Bytes of the stream that the client acknowledged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let transfer = &self.session().transfer;
        (u64::from(transfer.acked()) * u64::from(transfer.blksize())).min(self.stream_bytes())
    }

    /// From the burst that brought the request to the one, or the timer, that brought the end. Modulo 19 hours.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.session().transfer.age(self.now)
    }

    /// Blocks that went out more than once; 65535 stands for more, too.
    #[must_use]
    pub fn blocks_again(&self) -> u16 {
        self.engine.table.repeats(self.slot)
    }

    /// Deadlines that passed without an answer; 127 stands for more, too.
    #[must_use]
    pub fn timeouts(&self) -> u16 {
        self.session().transfer.timeouts()
    }

    /// Bytes in a block.
    #[must_use]
    pub fn blksize(&self) -> u16 {
        self.session().transfer.blksize()
    }

    /// Blocks in a window.
    #[must_use]
    pub fn window(&self) -> u8 {
        self.session().transfer.window()
    }

    /// Whether it was in netascii mode.
    #[must_use]
    pub fn is_netascii(&self) -> bool {
        self.session().transfer.is_netascii()
    }

    /// Code and text of the client's ERROR, where that was the end. Escape it before printing.
    #[must_use]
    pub const fn error(&self) -> Option<(u16, &'a [u8])> {
        self.error
    }

    /// Where this worker counts for the file.
    #[must_use]
    pub fn tally(&self) -> Option<&'a FileTally> {
        self.engine.generations.tally(self.engine.share.index.0, Source::of(self.session()))
    }
}

/// Most bytes of a name that are kept of a request that is refused, or of a transfer.
pub const NAME_KEPT: usize = 128;

/// A request that got an ERROR.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Who asked.
    pub client: Client,
    /// Our address that was asked.
    pub server: IpAddr,
    /// The ERROR's code.
    pub code: ErrorCode,
    /// The ERROR's text.
    pub reason: &'static str,
    /// It wanted to write.
    pub is_write: bool,
    /// The name as it was asked for, cut after [`NAME_KEPT`] bytes. Escape it before printing.
    pub name: &'a [u8],
    /// Bytes of the name before it was cut.
    pub name_len: usize,
}
