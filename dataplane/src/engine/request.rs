//! Port 69: a request becomes a session, an ERROR or nothing.

use super::envelope::Envelope;
use super::finished::{NAME_KEPT, Refused};
use super::generations::Source;
use super::output::{CacheEvent, Ending, Event};
use super::{Engine, Outcome, Output};
use crate::files::{Catalogue, Denied, FileId, Lookup, Name};
use crate::rules;
use crate::session::{Client, ClientKey, List, ON_SHELF, Route, Session, SlotId};
use crate::tftp::{Caps, ErrorCode, Granted, Mode, Packet, REQUEST_PORT, Request, Transfer};
use crate::time::Instant;
use crate::wire::{Flow, Span, ethernet};
use arrayvec::ArrayVec;

/// Longest OACK or ERROR that we send, in bytes.
const REPLY_MAX: usize = 128;

/// A received datagram that the engine answers.
#[derive(Clone, Copy)]
pub(super) struct Datagram {
    pub(super) link: ethernet::Header,
    pub(super) flow: Flow,
    /// Number of our address that it was sent to.
    pub(super) local: u8,
    pub(super) payload: Span,
}

/// What a request turned out to want.
pub(super) struct Wanted {
    source: Source,
    granted: Granted,
    netascii: bool,
}

/// What a request was understood as.
pub(super) enum Understood {
    Wanted(Wanted),
    /// A file that has to be loaded first.
    Absent(FileId),
}

/// Why a request gets an ERROR.
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) text: &'static str,
}

/// What a request gets that is not served.
pub(super) enum Answer {
    Error(Refusal),
    Silence(Outcome),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Error(refusal)
    }
}

/// A name as the client wrote it, kept while its frame becomes the ERROR.
pub(super) struct AskedName {
    kept: ArrayVec<u8, NAME_KEPT>,
    len: usize,
    is_write: bool,
}

impl AskedName {
    /// The name in the body of a request, however malformed: what stands before the first NUL.
    pub(super) fn of(body: &[u8], is_write: bool) -> Self {
        let name = body.split(|&byte| byte == 0).next().unwrap_or_default();
        Self { kept: name.iter().copied().take(NAME_KEPT).collect(), len: name.len(), is_write }
    }
}

const WRITES_ARE_REFUSED: Refusal = Refusal { code: ErrorCode::AccessViolation, text: "read only" };
const NOT_FOUND: Refusal = Refusal { code: ErrorCode::FileNotFound, text: "file not found" };
pub(super) const NO_ACCESS: Refusal = Refusal { code: ErrorCode::AccessViolation, text: "access denied" };
const TOO_LONG: Refusal = Refusal { code: ErrorCode::OptionsRefused, text: "file too long for this blksize" };
const TOO_LARGE: Refusal = Refusal { code: ErrorCode::AccessViolation, text: "file larger than the cache budget" };
pub(super) const NOT_UNDERSTOOD: Refusal = Refusal { code: ErrorCode::IllegalOperation, text: "malformed request" };

/// A name that has to be normalised first.
#[cold]
fn look_up_otherwise(catalogue: &Catalogue, name: &[u8]) -> Result<Lookup, Refusal> {
    let name = Name::parse(name, catalogue.name_options()).map_err(|error| refusal_of(rules::Refused::Name(error)))?;
    Ok(catalogue.lookup(&name))
}

/// What a request that gets no file is answered with.
pub(super) const fn refusal_of(refused: rules::Refused) -> Refusal {
    match (refused, refused.code()) {
        (rules::Refused::Denied(Denied::TooLarge), _) => TOO_LARGE,
        (_, ErrorCode::FileNotFound) => NOT_FOUND,
        _ => NO_ACCESS,
    }
}

impl Engine {
    pub(super) fn on_request<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        let client = Client::new(datagram.flow.addresses.src(), datagram.flow.src_port);
        let bytes = crate::port::Frame::bytes(&frame);
        let body = match Packet::parse(&bytes[datagram.payload.range()]) {
            Ok(Packet::ReadRequest { body }) if !body.is_empty() => body,
            // An opcode without anything behind it is not even a malformed request (row 1).
            Ok(Packet::WriteRequest { body }) if !body.is_empty() => {
                let asked = AskedName::of(body, true);
                let answer = self.denial(datagram).unwrap_or(Answer::Error(WRITES_ARE_REFUSED));
                return self.answer(now, datagram, &answer, &asked, frame, out);
            }
            // There the ACKs of running transfers arrive, too.
            _ if self.table.tids().is_single() => return self.on_session_datagram(now, datagram, frame, out),
            _ => return Outcome::NotARequest,
        };
        if self.draining {
            return Outcome::Draining;
        }
        // Whatever it wants but a file that has to be loaded: it waits for no other any more (rule a).
        match self.understand(datagram, body) {
            Ok(Understood::Absent(file)) => self.park(now, datagram, client, file, frame, out),
            Ok(Understood::Wanted(wanted)) => {
                self.parked.forget(&client);
                self.serve(now, datagram, client, &wanted, frame, out)
            }
            Err(answer) => {
                let asked = AskedName::of(body, false);
                self.parked.forget(&client);
                self.answer(now, datagram, &answer, &asked, frame, out)
            }
        }
    }

    fn answer<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        answer: &Answer,
        asked: &AskedName,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        match answer {
            Answer::Error(refusal) => self.refuse(now, datagram, refusal, asked, frame, out),
            Answer::Silence(outcome) => *outcome,
        }
    }

    /// From the bytes of a request to a file and terms.
    fn understand(&self, datagram: &Datagram, body: &[u8]) -> Result<Understood, Answer> {
        if let Some(all) = &self.rules {
            return self.understand_by(all, datagram, body);
        }
        let request = Request::parse(body).map_err(|_| NOT_UNDERSTOOD)?;
        let catalogue = self.generations.get(self.generations.current());
        let found = if Name::is_normal(request.name, catalogue.name_options()) {
            catalogue.lookup_normal(request.name)
        } else {
            look_up_otherwise(catalogue, request.name)?
        };
        let file = match found {
            Lookup::File(file) => file,
            Lookup::Denied(Denied::TooLarge) => return Err(TOO_LARGE.into()),
            Lookup::Denied(_) => return Err(NO_ACCESS.into()),
            Lookup::NotFound => return Err(NOT_FOUND.into()),
        };
        Ok(self.decide(file, &request, &self.caps(datagram))?)
    }

    /// What can be granted to whoever sent a request.
    #[inline]
    pub(super) fn caps(&self, datagram: &Datagram) -> Caps {
        Caps {
            blksize: self.policy.max_blksize.min(self.interface.blksize(datagram.flow.addresses.src())),
            window_blocks: self.policy.max_window_blocks,
            window_bytes: self.policy.max_window_bytes,
        }
    }

    /// The terms on which a request gets a file of the current catalogue.
    #[inline]
    pub(super) fn decide(&self, file: FileId, request: &Request<'_>, caps: &Caps) -> Result<Understood, Refusal> {
        let Some(source) = self.generations.locate(file) else { return Ok(Understood::Absent(file)) };
        let catalogue = self.generations.get(self.generations.current());
        let netascii = request.mode == Mode::Netascii;
        let size = (!netascii).then(|| catalogue.file(file).len());
        let granted = Granted::decide(&request.asked, caps, size);
        // Blocks are counted in 32 bit.
        let (bytes_in, number) = self.generations.open(source);
        if Transfer::total_blocks(bytes_in.stream_len(number, netascii), granted.blksize) > u64::from(u32::MAX) {
            return Err(TOO_LONG);
        }
        Ok(Understood::Wanted(Wanted { source, granted, netascii }))
    }

    fn serve<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        client: Client,
        wanted: &Wanted,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        let route =
            Route { client_mac: datagram.link.src.0, vlan: datagram.link.vlan.map(|tag| tag.0), local: datagram.local };
        let key = self.table.key(&client);
        if let Some(slot) = self.table.find_client(&client, key) {
            let same_request = self.is_same_request(slot, wanted);
            let session = self.table.get_mut(slot);
            let same_route = session.route() == route;
            let transfer = &mut session.transfer;
            // Rule a: before the first ACK the same reply from the same TID.
            if same_request && same_route && !transfer.is_proven() {
                transfer.start_over(now, &self.policy);
                self.first_reply(now, slot, frame, out);
                self.wake_at_deadline(now, slot);
                return Outcome::RequestRepeated;
            }
            // Later it is a copy that came late, unless the client has been silent for a timeout, as one is that starts again;
            // and what comes another way while all goes well is not from this client.
            let runs_well = transfer.is_proven() && !transfer.is_finished() && transfer.tries() == 0;
            if runs_well && (same_request || !same_route) {
                return Outcome::RequestRepeated;
            }
            self.end(now, slot, Ending::Replaced, out);
        }
        match self.open(now, route, (client, key), wanted, out) {
            Ok(slot) => {
                self.first_reply(now, slot, frame, out);
                if !self.table.get(slot).transfer.is_offered() {
                    out.report(Event::FirstData);
                }
                Outcome::RequestOpened
            }
            Err(reason) => reason,
        }
    }

    fn is_same_request(&self, slot: SlotId, wanted: &Wanted) -> bool {
        let session = self.table.get(slot);
        Source::of(session) == wanted.source && session.transfer.has_terms(&wanted.granted, wanted.netascii)
    }

    /// Makes a session, or says which limit is in the way.
    fn open<O: Output>(
        &mut self,
        now: Instant,
        route: Route,
        (client, key): (Client, ClientKey),
        wanted: &Wanted,
        out: &mut O,
    ) -> Result<SlotId, Outcome> {
        let of_address = self.unproven_by_address.place(&client);
        if self.unproven_by_address.of(of_address) >= self.limits.max_unproven_per_address {
            return Err(Outcome::UnprovenCap);
        }
        if self.unproven >= self.limits.max_unproven
            && let Some(oldest) = self.timers.oldest_unproven()
        {
            self.end(now, oldest, Ending::Evicted, out);
        }
        if self.table.is_full() {
            let lingering = self.timers.oldest(List::Lingering).ok_or(Outcome::TableFull)?;
            self.end(now, lingering, Ending::Done, out);
        }
        let Source { generation, file } = wanted.source;
        let transfer = Transfer::new(&wanted.granted, wanted.netascii, now, &self.policy);
        let session = Session::new(client, route, transfer, file, generation);
        let local = self.interface.address(route.local);
        let arrival = self.steering.as_ref().and_then(|steering| steering.arrival(&client, local));
        let suits = |tid| arrival.is_none_or(|arrival| arrival.at(tid) == self.share.index);
        let slot = self.table.insert(session, key, &mut self.random, suits).ok_or(Outcome::TableFull)?;
        self.generations.begin_reading(wanted.source, now);
        if generation == ON_SHELF {
            out.report(Event::Cache(CacheEvent::Hit));
        }
        self.unproven += 1;
        self.unproven_by_address.add(of_address);
        self.timers.enlist(slot, List::Unproven(0));
        let tally = self.generations.tally(self.share.index.0, wanted.source);
        out.report(Event::Opened { tally });
        Ok(slot)
    }

    /// OACK or DATA 1, in the request's own frame.
    fn first_reply<O: Output>(&mut self, now: Instant, slot: SlotId, frame: O::Frame, out: &mut O) {
        if self.table.get(slot).transfer.is_offered() {
            self.send_offer(now, slot, frame, out);
        } else {
            self.send_block(now, slot, frame, out);
        }
    }

    /// The OACK of a session whose client has not answered it yet.
    pub(super) fn send_offer<O: Output>(&mut self, now: Instant, slot: SlotId, mut frame: O::Frame, out: &mut O) {
        let tid = self.table.tid(slot);
        let session = self.table.get_mut(slot);
        session.transfer.offer_sent(now, &self.policy);
        let (bytes_in, number) = self.generations.open(Source::of(session));
        let size = bytes_in.file(number).len();
        let granted = session.transfer.terms(size);
        let mut options = [0; REPLY_MAX];
        let mut packet = [0; REPLY_MAX];
        let written = granted
            .emit(&mut options)
            .and_then(|len| Packet::OptionAck { body: &options[..len] }.emit(&mut packet))
            .ok()
            .and_then(|len| {
                let envelope = Envelope::of_session(&self.interface, session, tid);
                envelope.write(&mut frame, &packet[..len], out.completes_checksums()).ok()
            });
        match written {
            Some(()) => out.send(frame),
            None => out.report(Event::PoolEmpty),
        }
    }

    pub(super) fn refuse<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        refusal: &Refusal,
        asked: &AskedName,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        // RFC 1350 §4: a reply comes from a TID, not from the port of requests, unless the configuration has it so.
        let tid = self.table.any_tid(&mut self.random);
        debug_assert!(tid != REQUEST_PORT || self.table.tids().is_single());
        let Refusal { code, text } = *refusal;
        let outcome = self.send_error(now, datagram, tid, code, text, frame, Outcome::RequestRefused, out);
        if outcome == Outcome::RequestRefused {
            out.report(Event::Refused(&Refused {
                client: Client::new(datagram.flow.addresses.src(), datagram.flow.src_port),
                server: datagram.flow.addresses.dst(),
                code,
                reason: text,
                is_write: asked.is_write,
                name: &asked.kept,
                name_len: asked.len,
            }));
        }
        outcome
    }

    /// An ERROR in the received frame, if its sender's prefix still has one to spend.
    #[expect(clippy::too_many_arguments, reason = "an ERROR says who, from where, what and why")]
    pub(super) fn send_error<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        src_port: u16,
        code: ErrorCode,
        text: &str,
        mut frame: O::Frame,
        outcome: Outcome,
        out: &mut O,
    ) -> Outcome {
        if !self.errors.spend(now, datagram.flow.addresses.src()) {
            return Outcome::ErrorBudget;
        }
        let envelope = Envelope::reply(&self.interface, &datagram.link, &datagram.flow, src_port);
        let mut packet = [0; REPLY_MAX];
        let written = Packet::Error { code: code as u16, message: text.as_bytes() }
            .emit(&mut packet)
            .ok()
            .and_then(|len| envelope.write(&mut frame, &packet[..len], out.completes_checksums()).ok());
        match written {
            Some(()) => {
                out.send(frame);
                outcome
            }
            None => Outcome::PoolEmpty,
        }
    }
}
