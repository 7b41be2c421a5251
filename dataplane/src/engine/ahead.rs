//! Looking ahead over a burst: the lines that its frames will need are asked for together, stage by stage, so that their ways from
//! memory overlap. Changes nothing and decides nothing: what is asked for in vain costs a little time.

use super::{Engine, Output};
use crate::port::{BURST, Frame};
use crate::session::{Client, Session};
use crate::wire::quick;
use arrayvec::ArrayVec;

/// Live sessions whose lines fit the second-level cache: up to here nothing is gained.
const FEW_SESSIONS: u32 = 4_096;

/// File bytes that a last-level cache may hold: up to here it is near enough, and asking costs more than it gains.
const FEW_BYTES: u64 = 32 << 20;

/// Bytes at the begin of a block that are asked for; what follows comes by itself, once a copy is under way.
const PAYLOAD_AHEAD: u16 = 512;

const LINE: usize = 64;

impl Engine {
    /// Brings near what the frames of a burst will need.
    #[inline]
    pub fn look_ahead<O: Output>(&self, burst: &[O::Frame], out: &O) {
        let reads_far = self.generations.get(self.generations.current()).total_bytes() > FEW_BYTES;
        if self.table.live() > FEW_SESSIONS || reads_far {
            self.ask_for_sessions(burst, out, reads_far);
        }
    }

    fn ask_for_sessions<O: Output>(&self, burst: &[O::Frame], out: &O, reads_far: bool) {
        let mut sessions = ArrayVec::<&Session, BURST>::new();
        for frame in burst.iter().take(BURST) {
            if let Some(session) = self.session_line(frame.bytes()) {
                out.prefetch(session);
                sessions.push(session);
            }
        }
        if reads_far {
            self.ask_for_files(&sessions, out);
        }
    }

    /// Where the session of a frame would be, if it is a datagram to a TID.
    #[inline]
    fn session_line(&self, frame: &[u8]) -> Option<&Session> {
        let (src, src_port, dst_port) = quick::peek(frame)?;
        self.table.place_of(dst_port, &Client::from_ipv4(src, src_port))
    }

    fn ask_for_files<O: Output>(&self, sessions: &[&Session], out: &O) {
        for session in sessions {
            if let Some(line) = self.generations.find(session.generation()).and_then(|all| all.entry_line(session.file))
            {
                out.prefetch(line);
            }
        }
        for session in sessions {
            let Some(catalogue) = self.generations.find(session.generation()) else { continue };
            if catalogue.entry_line(session.file).is_none() {
                continue;
            }
            let file = catalogue.view(session.file);
            let (block, offset) = session.transfer.block_after_next_ack();
            if out.copies(session.transfer.blksize()) {
                file.bytes(offset, PAYLOAD_AHEAD.min(session.transfer.blksize()))
                    .chunks(LINE)
                    .filter_map(<[u8]>::first)
                    .for_each(|byte| out.prefetch(byte));
            }
            if let Some(sum) = session.sum_table().and_then(|table| file.sum_line(table, block)) {
                out.prefetch(sum);
            }
        }
    }
}
