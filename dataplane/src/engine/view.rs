//! Sessions as people see them. Copies, never references: control looks at them at its leisure.

use super::Engine;
use super::generations::Source;
use crate::files::{FileId, GenerationId};
use crate::session::Route;
use crate::time::Instant;
use core::net::IpAddr;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The first reply is out, nothing came back yet.
    Unproven,
    /// Blocks flow.
    Sending,
    /// Done; kept to take late repeats.
    Lingering,
}

/// One session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The client's address and UDP port.
    pub client: (IpAddr, u16),
    /// Where its frames go.
    pub route: Route,
    /// Our address and TID.
    pub server: (IpAddr, u16),
    /// What it reads.
    pub file: FileId,
    /// In which catalogue; `None` once it reads no more.
    pub generation: Option<GenerationId>,
    /// Where it stands.
    pub state: SessionState,
    /// Bytes in a block.
    pub blksize: u16,
    /// Blocks in a window.
    pub window: u8,
    /// Blocks acknowledged.
    pub acked_blocks: u32,
    /// Bytes of the stream; for netascii more than the file has.
    pub stream_bytes: Option<u64>,
    /// Blocks that went out more than once.
    pub blocks_again: u16,
    /// Whole seconds since its request.
    pub age_secs: u16,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: Option<u32>,
}

impl Engine {
    /// The live sessions in places `from..from + count` of the table, to be walked in bounded steps.
    pub fn sessions(&self, now: Instant, from: u32, count: u32) -> impl Iterator<Item = SessionView> + '_ {
        (from..from.saturating_add(count).min(self.places())).filter_map(move |place| self.view(now, place))
    }

    /// How many places the session table has.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.table.slots()
    }

    fn view(&self, now: Instant, place: u32) -> Option<SessionView> {
        let slot = self.table.at_place(place)?;
        let session = self.table.get(slot);
        let transfer = &session.transfer;
        let state = match (transfer.is_finished(), transfer.is_proven()) {
            (true, _) => SessionState::Lingering,
            (false, true) => SessionState::Sending,
            (false, false) => SessionState::Unproven,
        };
        let source = (state != SessionState::Lingering).then(|| Source::of(session));
        let title = source.map(|source| self.generations.title(source));
        Some(SessionView {
            client: (session.client().ip(), session.client().port()),
            route: session.route(),
            server: (self.interface.address(session.route().local), self.table.tid(slot)),
            file: title.map_or(session.file, |title| title.file),
            generation: title.map(|title| title.generation),
            state,
            blksize: transfer.blksize(),
            window: transfer.window(),
            acked_blocks: transfer.acked(),
            stream_bytes: source.map(|source| {
                let (catalogue, file) = self.generations.open(source);
                catalogue.stream_len(file, transfer.is_netascii())
            }),
            blocks_again: self.table.repeats(slot),
            age_secs: u16::try_from(transfer.age(now).micros() / 1_000_000).unwrap_or(u16::MAX),
            srtt_us: transfer.srtt_us(),
        })
    }
}
