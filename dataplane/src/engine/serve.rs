//! Running transfers: what ACKs, ERROR packets and timers do to a session, and the blocks that follow.

use super::finished::Finished;
use super::generations::{Generations, Source};
use super::output::{Ending, Event};
use super::request::Datagram;
use super::template::{Block, Templates};
use super::{Engine, Outcome, Output};
use crate::files::{Catalogue, FileId};
use crate::port::{ArenaNumber, Frame, Payload, TooLong};
use crate::session::{Client, List, Miss, Session, SlotId};
use crate::tftp::transfer::{TakenBlock, low_bits};
use crate::tftp::{AckEffect, DeadlineEffect, ErrorCode, Packet, Policy, REQUEST_PORT, Transfer};
use crate::time::Instant;
use crate::wire::{Flow, Sum};

/// Blocks that one session may send before the next one has its turn.
const SHARE: u32 = 8;

/// Sessions whose timers are looked at in one poll: more would be a pause that the frames of the next burst notice.
const TIMERS_PER_POLL: u32 = 16;

impl Engine {
    /// A datagram to one of our own TIDs.
    #[inline]
    pub(super) fn on_session_datagram<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        let client = Client::new(datagram.flow.addresses.src(), datagram.flow.src_port);
        let tid = datagram.flow.dst_port;
        let slot = match self.table.find(tid, &client) {
            Ok(slot) if self.table.get(slot).local() == datagram.local => slot,
            Err(Miss::Stranger) => return self.on_stranger(now, datagram, frame, out),
            Ok(_) | Err(Miss::NoSession) => return Outcome::NoSession,
        };
        match Packet::parse(&frame.bytes()[datagram.payload.range()]) {
            Ok(Packet::Ack { block }) => self.on_any_ack(now, slot, block, frame, out),
            Ok(Packet::Error { code, message }) => {
                self.on_client_error(now, slot, (code, message), out);
                Outcome::ClientError
            }
            _ => Outcome::NotAnAck,
        }
    }

    /// An ACK that did not come in the usual frame: over IPv6, tagged, with a byte too many.
    #[inline(never)]
    fn on_any_ack<O: Output>(
        &mut self,
        now: Instant,
        slot: SlotId,
        block: u16,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        self.on_ack(now, slot, block, frame, out)
    }

    // The way from an ACK to its DATA is one straight line of code: each call in it would cost a tenth of the whole.
    #[inline(always)]
    pub(super) fn on_ack<O: Output>(
        &mut self,
        now: Instant,
        slot: SlotId,
        block: u16,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        let tid = self.table.tid(slot);
        let session = self.table.get_mut(slot);
        let was_proven = session.transfer.is_proven();
        let outcome = match session.transfer.on_ack(now, block, &self.policy) {
            AckEffect::Progress => Outcome::AckProgress,
            AckEffect::Restart => Outcome::AckRepeated,
            other => return self.on_ack_without_data(now, slot, was_proven, other, out),
        };
        let supplies = Supplies { generations: &self.generations, templates: &self.templates, policy: &self.policy };
        let block = supplies.send_block(now, session, tid, frame, out);
        self.after_block(slot, block);
        if !was_proven {
            self.prove(now, slot, out);
        }
        outcome
    }

    #[cold]
    fn on_ack_without_data<O: Output>(
        &mut self,
        now: Instant,
        slot: SlotId,
        was_proven: bool,
        effect: AckEffect,
        out: &mut O,
    ) -> Outcome {
        match effect {
            AckEffect::Finished => {
                if !was_proven {
                    self.prove(now, slot, out);
                }
                self.finish(now, slot, out);
                Outcome::AckFinished
            }
            AckEffect::Hold => {
                self.wake_at_deadline(now, slot);
                Outcome::AckRepeated
            }
            // Rule d: a late repeat of the last ACK is normal.
            AckEffect::Stale if self.table.get(slot).transfer.is_finished() => Outcome::AckRepeated,
            AckEffect::Stale => Outcome::StaleAck,
            AckEffect::Repeated | AckEffect::Progress | AckEffect::Restart => Outcome::AckRepeated,
        }
    }

    /// Notes what became of a block: the rest of the window waits for its turn.
    #[inline]
    fn after_block(&mut self, slot: SlotId, block: AfterBlock) {
        if block.more {
            self.ready.push(slot);
        }
        if block.repeat {
            self.table.count_repeat(slot);
        }
    }

    /// RFC 1350 §4: a wrong source gets ERROR 5 and the transfer goes on undisturbed. An ERROR is never answered.
    fn on_stranger<O: Output>(&mut self, now: Instant, datagram: &Datagram, frame: O::Frame, out: &mut O) -> Outcome {
        match Packet::parse(&frame.bytes()[datagram.payload.range()]) {
            Ok(Packet::Ack { .. } | Packet::Data { .. }) => {}
            _ => return Outcome::NotAnAck,
        }
        // No client has these ports (row 3): the answer would reach nobody, or another server.
        if matches!(datagram.flow.src_port, 0 | REQUEST_PORT) {
            return Outcome::SourcePortForbidden;
        }
        if self.interface.forbids_source(datagram.flow.addresses.src()) {
            return Outcome::SourceForbidden;
        }
        let (code, text) = (ErrorCode::UnknownTransferId, "unknown transfer ID");
        let outcome = Outcome::StrangerRefused;
        self.send_error(now, datagram, datagram.flow.dst_port, code, text, frame, outcome, out)
    }

    /// Rule c: any ERROR ends the session, silently. Before data was acknowledged it is how boot ROMs ask for a size.
    #[cold]
    fn on_client_error<O: Output>(&mut self, now: Instant, slot: SlotId, error: (u16, &[u8]), out: &mut O) {
        let ending = if self.table.get(slot).transfer.acked() == 0 { Ending::Probe } else { Ending::Aborted };
        self.end_with(now, slot, ending, Some(error), out);
    }

    /// Row 33: nobody listens where our packet went. `quoted` is our own packet's flow.
    pub(super) fn on_unreachable<O: Output>(&mut self, now: Instant, quoted: &Flow, out: &mut O) -> Outcome {
        let client = Client::new(quoted.addresses.dst(), quoted.dst_port);
        match self.table.find(quoted.src_port, &client) {
            Ok(slot) if self.interface.find(quoted.addresses.src()) == Some(self.table.get(slot).local()) => {
                let transfer = &self.table.get(slot).transfer;
                let ending = match (transfer.is_proven(), transfer.is_all_sent()) {
                    // A client that has what it wanted closes its port: the size, or all of the file.
                    (false, _) if transfer.tells_size() => Ending::Probe,
                    (true, true) => Ending::Unconfirmed,
                    _ => Ending::Unreachable,
                };
                self.end(now, slot, ending, out);
                Outcome::Unreachable
            }
            _ => Outcome::IcmpOther,
        }
    }

    /// Sends the next block of a session in `frame`, and lines the session up for the rest of its window.
    #[inline(never)]
    pub(super) fn send_block<O: Output>(&mut self, now: Instant, slot: SlotId, frame: O::Frame, out: &mut O) {
        let tid = self.table.tid(slot);
        let session = self.table.get_mut(slot);
        let supplies = Supplies { generations: &self.generations, templates: &self.templates, policy: &self.policy };
        let block = supplies.send_block(now, session, tid, frame, out);
        self.after_block(slot, block);
    }

    /// Lets sessions with room in their windows send, each its share in turn, as far as the output takes it.
    #[inline]
    pub fn pump<O: Output>(&mut self, now: Instant, out: &mut O) {
        for _ in 0..self.ready.len() {
            if out.room() == 0 {
                return;
            }
            let Some(slot) = self.ready.pop() else { return };
            self.send_share(now, slot, out);
        }
    }

    fn send_share<O: Output>(&mut self, now: Instant, slot: SlotId, out: &mut O) {
        let tid = self.table.tid(slot);
        for _ in 0..SHARE {
            let session = self.table.get_mut(slot);
            if !session.transfer.may_send() {
                return;
            }
            if out.room() == 0 {
                break;
            }
            let Some(frame) = out.allocate() else {
                out.report(Event::PoolEmpty);
                break;
            };
            let supplies =
                Supplies { generations: &self.generations, templates: &self.templates, policy: &self.policy };
            let block = supplies.send_block(now, session, tid, frame, out);
            if block.repeat {
                self.table.count_repeat(slot);
            }
        }
        if self.table.get(slot).transfer.may_send() {
            self.ready.push(slot);
        }
    }

    /// Looks after sessions whose time has come, a bounded number of them.
    #[inline]
    pub fn run_timers<O: Output>(&mut self, now: Instant, out: &mut O) {
        // Deadlines are whole milliseconds: within one there is nothing new to see.
        if now.millis() != self.timers_seen_ms {
            self.run_due(now, out);
        }
    }

    fn run_due<O: Output>(&mut self, now: Instant, out: &mut O) {
        for _ in 0..TIMERS_PER_POLL {
            if out.room() == 0 {
                return;
            }
            let table = &self.table;
            let is_due = |slot| table.get(slot).transfer.deadline().millis_left(now) == 0;
            let Some(slot) = self.timers.next_due(now, is_due) else {
                self.timers_seen_ms = now.millis();
                return;
            };
            // Those behind it are asked for while it is looked at: their places have nothing to do with each other.
            for (next, link) in self.timers.upcoming() {
                out.prefetch(self.table.get(next));
                out.prefetch(link);
            }
            let transfer = &self.table.get(slot).transfer;
            let left = transfer.deadline().millis_left(now);
            if left > 0 && transfer.is_proven() && !self.is_overdue(transfer, now) {
                // It was heard of meanwhile, as nearly all are: nothing is due yet.
                self.timers.schedule(slot, now, left);
            } else {
                self.on_timer(now, slot, out);
            }
        }
    }

    #[cold]
    fn on_timer<O: Output>(&mut self, now: Instant, slot: SlotId, out: &mut O) {
        let random = u32::try_from(self.random.next_u64() >> 32).unwrap_or_default();
        if self.is_overdue(&self.table.get(slot).transfer, now) {
            return self.end(now, slot, Ending::Overdue, out);
        }
        let transfer = &mut self.table.get_mut(slot).transfer;
        match transfer.on_deadline(now, &self.policy, random) {
            DeadlineEffect::NotYet => {}
            DeadlineEffect::OfferAgain => match out.allocate() {
                Some(frame) => self.send_offer(now, slot, frame, out),
                None => out.report(Event::PoolEmpty),
            },
            DeadlineEffect::Again => self.ready.push(slot),
            DeadlineEffect::GiveUp { all_sent } => {
                let ending = match (transfer.is_proven(), all_sent) {
                    (false, _) if transfer.tells_size() => Ending::Probe,
                    (false, _) => Ending::Unanswered,
                    (true, true) => Ending::Unconfirmed,
                    (true, false) => Ending::TimedOut,
                };
                return self.end(now, slot, ending, out);
            }
            DeadlineEffect::Over => return self.end(now, slot, Ending::Done, out),
        }
        self.wake_at_deadline(now, slot);
    }

    /// Whether a transfer that is not done has lasted longer than any may.
    fn is_overdue(&self, transfer: &Transfer, now: Instant) -> bool {
        !transfer.is_finished() && transfer.age(now) >= self.policy.max_transfer
    }

    /// Puts a session where its next deadline is found.
    pub(super) fn wake_at_deadline(&mut self, now: Instant, slot: SlotId) {
        let transfer = &self.table.get(slot).transfer;
        if transfer.is_proven() {
            let millis = transfer.deadline().millis_left(now);
            self.timers.schedule(slot, now, millis);
        } else {
            self.timers.enlist(slot, List::Unproven(transfer.tries()));
        }
    }

    /// The client has answered from its address: it now counts as real, and its deadline may have come nearer.
    #[cold]
    fn prove<O: Output>(&mut self, now: Instant, slot: SlotId, out: &mut O) {
        self.count_proven_or_gone(&self.table.get(slot).client());
        self.wake_at_deadline(now, slot);
        let transfer = &self.table.get(slot).transfer;
        // It was the OACK that was acknowledged.
        if transfer.acked() == 0 {
            out.report(Event::FirstDataAfterOffer { waited: transfer.age(now) });
        }
    }

    /// One unproven session of this client less.
    fn count_proven_or_gone(&mut self, client: &Client) {
        self.unproven -= 1;
        let place = self.unproven_by_address.place(client);
        self.unproven_by_address.remove(place);
    }

    /// The last block was acknowledged. The session stays for a while, to take late repeats (rule g), but reads no more.
    // Not part of the way of other ACKs that bring no data.
    #[inline(never)]
    fn finish<O: Output>(&mut self, now: Instant, slot: SlotId, out: &mut O) {
        out.report(Event::Ended(&Finished { ending: Ending::Done, now, engine: self, slot, error: None }));
        let source = Source::of(self.table.get(slot));
        self.generations.end_reading(source);
        self.timers.enlist(slot, List::Lingering);
        self.lingering += 1;
    }

    /// Frees a session, whatever state it is in. A finished one has already been reported.
    pub(super) fn end<O: Output>(&mut self, now: Instant, slot: SlotId, ending: Ending, out: &mut O) {
        self.end_with(now, slot, ending, None, out);
    }

    #[inline(never)]
    fn end_with<O: Output>(
        &mut self,
        now: Instant,
        slot: SlotId,
        ending: Ending,
        error: Option<(u16, &[u8])>,
        out: &mut O,
    ) {
        let session = *self.table.get(slot);
        if session.transfer.is_finished() {
            self.lingering -= 1;
        } else {
            if !session.transfer.is_proven() {
                self.count_proven_or_gone(&session.client());
            }
            out.report(Event::Ended(&Finished { ending, now, engine: self, slot, error }));
            self.generations.end_reading(Source::of(&session));
        }
        self.timers.remove(slot);
        self.table.remove(slot);
    }

    /// Ends all sessions because the worker ends; those that ran are reported as cut off.
    #[cold]
    pub fn cut_off<O: Output>(&mut self, now: Instant, out: &mut O) {
        for place in 0..self.places() {
            if let Some(slot) = self.table.at_place(place) {
                self.end(now, slot, Ending::CutOff, out);
            }
        }
    }
}

/// What a block is made of, besides its session.
struct Supplies<'a> {
    generations: &'a Generations,
    templates: &'a Templates,
    policy: &'a Policy,
}

/// What a session wants when its block is on its way.
#[derive(Clone, Copy)]
struct AfterBlock {
    /// The block went out before.
    repeat: bool,
    /// The window has room for another one.
    more: bool,
}

impl Supplies<'_> {
    /// Sends the next block of a session in `frame`.
    #[inline(always)]
    fn send_block<O: Output>(
        &self,
        now: Instant,
        session: &mut Session,
        tid: u16,
        frame: O::Frame,
        out: &mut O,
    ) -> AfterBlock {
        if !session.transfer.may_send() {
            return AfterBlock { repeat: false, more: false };
        }
        match self.generations.catalogue_of(session) {
            Some(catalogue) => self.send_from((catalogue, session.file), now, session, tid, frame, out),
            None => self.send_from_shelf(now, session, tid, frame, out),
        }
    }

    /// The same for a file that was loaded on demand.
    #[inline(never)]
    fn send_from_shelf<O: Output>(
        &self,
        now: Instant,
        session: &mut Session,
        tid: u16,
        frame: O::Frame,
        out: &mut O,
    ) -> AfterBlock {
        self.send_from(self.generations.open(Source::of(session)), now, session, tid, frame, out)
    }

    #[inline(always)]
    fn send_from<O: Output>(
        &self,
        (catalogue, number): (&Catalogue, FileId),
        now: Instant,
        session: &mut Session,
        tid: u16,
        mut frame: O::Frame,
        out: &mut O,
    ) -> AfterBlock {
        let header_len = self.templates.header_len(session);
        let offload = out.completes_checksums();
        let (block, composed) = if session.transfer.is_netascii() {
            let block = session.transfer.take_block(now, catalogue.netascii_len(number), self.policy);
            let composed = compose_netascii(&mut frame, header_len, catalogue, number, &block);
            (block, composed.map(|(header, made)| (header, (!offload).then(|| Sum::of(made)))))
        } else {
            let file = catalogue.view(number);
            let block = session.transfer.take_block(now, file.len(), self.policy);
            let bytes = file.bytes(block.offset, block.bytes);
            let kept = session.sum_table().and_then(|table| file.block_sum(table, block.number - 1));
            let payload = Payload { bytes, arena: ArenaNumber(session.generation()) };
            let composed = out.compose(&mut frame, header_len, payload);
            (block, composed.map(|header| (header, (!offload).then(|| kept.unwrap_or_else(|| Sum::of(bytes))))))
        };
        let written = composed.and_then(|(header, sum)| {
            let number = low_bits(u64::from(block.number));
            let block = Block { tid, number, len: block.bytes, sum };
            self.templates.write(header, session, &block)
        });
        if written.is_ok() {
            if offload {
                frame.request_checksums(self.templates.checksum_request(session));
            }
            out.send(frame);
            out.report(Event::BlockSent { bytes: block.bytes, repeat: block.repeat });
        } else {
            // Only a received frame can be too short for a block that our MTU allows: the pool's are not.
            session.transfer.untake_block(block);
        }
        AfterBlock { repeat: block.repeat, more: session.transfer.may_send() }
    }
}

/// A block of a file as netascii, which has to be made; returns the place for its headers, and the block.
#[cold]
fn compose_netascii<'f, F: Frame>(
    frame: &'f mut F,
    header_len: usize,
    catalogue: &Catalogue,
    file: FileId,
    block: &TakenBlock,
) -> Result<(&'f mut [u8], &'f [u8]), TooLong> {
    frame.resize(header_len + usize::from(block.bytes))?;
    let (header, place) = frame.bytes_mut().split_at_mut(header_len);
    catalogue.read_netascii(file, block.offset, place);
    Ok((header, place))
}
