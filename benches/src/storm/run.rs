//! The poll loop of the generator: frames in, timers, beginnings, frames out. Nothing in it allocates, waits or logs; once per
//! interval it exchanges its measurements for an empty sheet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use dataplane::port::{BURST, Burst, Frame, Port};
use dataplane::random::Random;
use dataplane::tftp::packet::Packet as Tftp;
use dataplane::time::{Duration, Instant};
use dataplane::wire::{Flow, Packet, icmpv4, icmpv6};

use super::arrivals::Arrivals;
use super::client::{Event, Failure, Reply, Transfer};
use super::content::{Content, FileId, Received};
use super::link::Link;
use super::options::Asked;
use super::population::ClientId;
use super::tally::{Snapshot, record};
use super::timers::Timers;

/// Between two snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

/// A transfer that begins later than this after its time is counted as late.
const LATE: Duration = Duration::from_millis(1);

/// Room in the backlog that beginnings leave to what answers the server.
const RESERVE: usize = 2 * BURST;

/// First UDP port of a client; those below are for servers.
const FIRST_PORT: u16 = 1_024;

/// Doublings of the wait between resends.
const MAX_BACKOFF: u8 = 3;

/// Passes in which the last frames may leave.
const LAST_PASSES: usize = 10_000;

/// When transfers begin.
#[derive(Debug)]
pub(crate) enum Load {
    /// Whatever the server does.
    Open(Arrivals),
    /// Each client again, so long after its last transfer ended.
    Closed {
        /// 0: at once.
        think: Duration,
    },
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What requests ask for.
    pub(crate) asked: Asked,
    /// When transfers begin.
    pub(crate) load: Load,
    /// How long they do.
    pub(crate) duration: Duration,
    /// How long running ones may take to finish afterwards.
    pub(crate) grace: Duration,
    /// First wait before a resend; it doubles, up to eight times this.
    pub(crate) retransmit: Duration,
    /// Resends in a row before a transfer fails.
    pub(crate) tries: u8,
    /// The server's port for requests.
    pub(crate) server_port: u16,
    /// For the choice of files and ports.
    pub(crate) random: Random,
}

/// One client: a cache line and a bit.
#[derive(Clone, Copy, Debug)]
struct Client {
    transfer: Transfer,
    /// When the transfer was meant to begin.
    intended: Instant,
    received: Received,
    file: FileId,
    /// Its UDP port, another one for each transfer.
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Draining { until: Instant },
    Over,
}

/// The first difference that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) file: FileId,
    pub(crate) client: ClientId,
    /// Of the block that differs; `None` when all blocks are right, or were not compared.
    pub(crate) offset: Option<u64>,
}

/// The generator: all clients and their link.
pub(crate) struct Generator<P: Port> {
    link: Link<P>,
    plan: Plan,
    content: Content,
    clients: Box<[Client]>,
    timers: Timers,
    /// Clients without a transfer, the one that ended first in front: late packets of its old transfer have had their time.
    ready: VecDeque<ClientId>,
    phase: Phase,
    /// Last moment at which a transfer had to wait because no client was free.
    starved: Option<Instant>,
    difference: Option<Difference>,
    /// When the last block came that was taken.
    last_block: Instant,
    sheet: Box<Snapshot>,
}

impl<P: Port> Generator<P> {
    /// Takes all the memory that it will need. Time begins at the origin.
    pub(crate) fn new(link: Link<P>, mut plan: Plan, content: Content, sheet: Box<Snapshot>) -> Self {
        let count = link.population().clients();
        let mut client = Client {
            transfer: Transfer::IDLE,
            intended: Instant::ORIGIN,
            received: Received::default(),
            file: FileId::default(),
            port: FIRST_PORT,
        };
        let clients = (0..count).map(|_| {
            let draw = plan.random.below(u32::from(u16::MAX - FIRST_PORT) + 1);
            client.port = FIRST_PORT + u16::try_from(draw).unwrap_or_default();
            client
        });
        Self {
            clients: clients.collect(),
            timers: Timers::new(count),
            ready: (0..count).map(ClientId::new).collect(),
            phase: Phase::Loading,
            starved: None,
            difference: None,
            last_block: Instant::ORIGIN,
            link,
            plan,
            content,
            sheet,
        }
    }

    /// One pass. False when all is over.
    #[inline]
    pub(crate) fn step(&mut self, now: Instant) -> bool {
        let mut burst = Burst::new();
        self.link.receive(&mut burst);
        self.sheet.counts.frames.received += burst.len() as u64;
        for frame in burst {
            self.take(now, frame);
        }
        for _ in 0..BURST {
            let Some(client) = self.timers.expire(now) else { break };
            self.time_out(now, client);
        }
        match self.phase {
            Phase::Loading if now.micros() >= self.plan.duration.micros() => self.end_load(now),
            Phase::Loading => self.begin_due(now),
            Phase::Draining { until } if self.sheet.live == 0 || now >= until => self.end(),
            Phase::Draining { .. } | Phase::Over => {}
        }
        self.link.flush(&mut self.sheet.counts.frames);
        self.phase != Phase::Over
    }

    /// Begins no more transfers; those that run have the grace time.
    pub(crate) fn end_load(&mut self, now: Instant) {
        if self.phase != Phase::Loading {
            return;
        }
        self.phase = Phase::Draining { until: now + self.plan.grace };
        if let Load::Open(arrivals) = &mut self.plan.load {
            let end = now.micros().min(self.plan.duration.micros());
            while arrivals.next().micros() < end {
                self.sheet.counts.transfers.not_started += 1;
                arrivals.advance();
            }
        }
    }

    /// Ends at once: what runs is told so.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Over;
        for client in (0..self.link.population().clients()).map(ClientId::new) {
            let Client { transfer, port, .. } = &mut self.clients[client.index()];
            if !transfer.is_running() {
                continue;
            }
            let (server_port, port) = (transfer.server_port(), *port);
            transfer.abandon();
            self.sheet.live -= 1;
            self.sheet.counts.transfers.unfinished += 1;
            if let Some(server_port) = server_port {
                // RFC 1350 §7: a courtesy, so that the server need not send to nobody.
                self.send_error(client, (port, server_port), 0, None);
            }
            self.make_room();
        }
        for _ in 0..LAST_PASSES {
            if self.link.room() == dataplane::port::BACKLOG {
                break;
            }
            self.link.flush(&mut self.sheet.counts.frames);
        }
    }

    fn make_room(&mut self) {
        for _ in 0..LAST_PASSES {
            if self.link.room() > RESERVE {
                break;
            }
            self.link.flush(&mut self.sheet.counts.frames);
        }
    }

    /// What was asked for, and how that went.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The first difference between what came and what should have.
    pub(crate) fn difference(&self) -> Option<Difference> {
        self.difference
    }

    /// The measurements of the present interval.
    pub(crate) fn sheet(&self) -> &Snapshot {
        &self.sheet
    }

    /// Exchanges the sheet for an empty one and gives the full one back.
    fn turn_sheet(&mut self, now: Instant, mut empty: Box<Snapshot>) -> Box<Snapshot> {
        empty.from = now;
        empty.live = self.sheet.live;
        empty.counts = self.sheet.counts;
        let mut full = core::mem::replace(&mut self.sheet, empty);
        full.to = now;
        full
    }

    /// Begins what is due, as far as there is room.
    fn begin_due(&mut self, now: Instant) {
        for _ in 0..BURST {
            if self.link.room() < RESERVE {
                return;
            }
            let intended = match &mut self.plan.load {
                Load::Open(arrivals) => {
                    let intended = arrivals.next();
                    if intended > now || intended.micros() >= self.plan.duration.micros() {
                        return;
                    }
                    if self.ready.is_empty() {
                        self.starved = Some(now);
                        return;
                    }
                    arrivals.advance();
                    intended
                }
                Load::Closed { .. } => now,
            };
            let Some(client) = self.ready.pop_front() else { return };
            self.begin(now, intended, client);
        }
    }

    fn begin(&mut self, now: Instant, intended: Instant, client: ClientId) {
        let random = &mut self.plan.random;
        // The high half of the product is below `total`, and as good as uniform.
        let draw = |total: u64| ((u128::from(random.next_u64()) * u128::from(total)) >> 64) as u64;
        let file = self.content.pick(draw);
        let slot = &mut self.clients[client.index()];
        slot.port = slot.port.checked_add(1).unwrap_or(FIRST_PORT);
        (slot.intended, slot.file, slot.received) = (intended, file, Received::default());
        slot.transfer.begin();
        let transfers = &mut self.sheet.counts.transfers;
        transfers.started += 1;
        let lag = now - intended;
        transfers.started_late += u64::from(lag > LATE);
        transfers.waited_for_client += u64::from(lag > LATE && self.starved.is_some_and(|when| when >= intended));
        record(&mut self.sheet.latencies.start_lag, lag);
        self.sheet.live += 1;
        self.timers.set(client, now + self.plan.retransmit);
        self.send_request(client);
    }

    fn take(&mut self, now: Instant, frame: P::Frame) {
        let Some(parsed) = self.link.read(&frame) else {
            self.sheet.counts.frames.malformed += 1;
            return;
        };
        match parsed.packet {
            Packet::Udp { flow, payload } => {
                let server = self.link.population().server();
                let Some(client) =
                    self.link.population().find(flow.addresses.dst()).filter(|_| flow.addresses.src() == server)
                else {
                    self.sheet.counts.frames.foreign += 1;
                    return;
                };
                if self.link.loses() {
                    self.sheet.counts.frames.lost_received += 1;
                    return;
                }
                let payload = frame.bytes().get(payload.range()).unwrap_or_default();
                let reply = self.take_packet(now, client, &flow, payload);
                self.reply(client, (flow.dst_port, flow.src_port), reply, Some(frame));
            }
            Packet::Icmpv4 { message: icmpv4::Message::DestinationUnreachable { quoted: Some(flow), .. }, .. }
            | Packet::Icmpv6 { message: icmpv6::Message::DestinationUnreachable { quoted: Some(flow), .. }, .. } => {
                self.take_unreachable(now, &flow);
            }
            _ => {
                if !self.link.answer_neighbour(&parsed, frame, &mut self.sheet.counts.frames) {
                    self.sheet.counts.frames.foreign += 1;
                }
            }
        }
    }

    #[inline]
    fn take_packet(&mut self, now: Instant, client: ClientId, flow: &Flow, payload: &[u8]) -> Reply {
        let Client { transfer, intended, received, file, port } = &mut self.clients[client.index()];
        let packets = &mut self.sheet.counts.packets;
        if *port != flow.dst_port {
            packets.stray += 1;
            return Reply::Nothing;
        }
        let step = transfer.receive(&self.plan.asked, flow.src_port, payload);
        match step.event {
            Event::Block { offset, payload, last } => {
                packets.blocks += 1;
                packets.bytes += payload.len() as u64;
                self.last_block = now;
                if offset == 0 {
                    record(&mut self.sheet.latencies.first_data, now - *intended);
                }
                if !self.content.check(*file, received, offset, payload) {
                    packets.wrong_blocks += 1;
                    self.difference.get_or_insert(Difference { file: *file, client, offset: Some(offset) });
                }
                if last {
                    let bytes = offset + payload.len() as u64;
                    self.complete(now, client, bytes);
                } else {
                    self.timers.set(client, now + self.plan.retransmit);
                }
            }
            Event::Options => {
                packets.oacks += 1;
                record(&mut self.sheet.latencies.oack, now - *intended);
                self.timers.set(client, now + self.plan.retransmit);
            }
            Event::Duplicate | Event::Gap => {
                let count = if step.event == Event::Gap { &mut packets.gaps } else { &mut packets.duplicates };
                *count += 1;
                packets.acks_repeated += u64::from(step.reply != Reply::Nothing);
            }
            Event::Stranger => packets.strangers += 1,
            Event::Meaningless => packets.stray += 1,
            Event::Failed(failure) => self.fail(now, client, failure),
        }
        step.reply
    }

    fn take_unreachable(&mut self, now: Instant, quoted: &Flow) {
        let to_server = quoted.addresses.dst() == self.link.population().server();
        let client = self.link.population().find(quoted.addresses.src()).filter(|_| to_server);
        let Some(client) = client else {
            self.sheet.counts.frames.foreign += 1;
            return;
        };
        let slot = &mut self.clients[client.index()];
        if slot.port == quoted.src_port && slot.transfer.is_running() {
            slot.transfer.abandon();
            self.fail(now, client, Failure::Unreachable);
        } else {
            self.sheet.counts.packets.stray += 1;
        }
    }

    fn time_out(&mut self, now: Instant, client: ClientId) {
        let Client { transfer, port, .. } = &mut self.clients[client.index()];
        if !transfer.is_running() {
            // It has thought enough.
            self.ready.push_back(client);
            return;
        }
        match transfer.time_out(self.plan.tries) {
            Ok(reply) => {
                // RFC 1123 §4.2.3.2: exponential backoff.
                let wait = self.plan.retransmit.micros() << transfer.timeouts().min(MAX_BACKOFF);
                let ports = (*port, transfer.server_port().unwrap_or(self.plan.server_port));
                self.timers.set(client, now + Duration::from_micros(wait));
                let packets = &mut self.sheet.counts.packets;
                match reply {
                    Reply::Request => packets.requests_resent += 1,
                    _ => packets.acks_resent += 1,
                }
                self.reply(client, ports, reply, None);
            }
            Err(failure) => self.fail(now, client, failure),
        }
    }

    fn complete(&mut self, now: Instant, client: ClientId, bytes: u64) {
        let Client { intended, received, file, .. } = self.clients[client.index()];
        record(&mut self.sheet.latencies.transfer, now - intended);
        let transfers = &mut self.sheet.counts.transfers;
        transfers.done += 1;
        if !self.content.complete(file, received, bytes) {
            transfers.mismatched += 1;
            self.difference.get_or_insert(Difference { file, client, offset: None });
        }
        self.release(now, client);
    }

    fn fail(&mut self, now: Instant, client: ClientId, failure: Failure) {
        let transfers = &mut self.sheet.counts.transfers;
        transfers.failed += 1;
        if failure == Failure::WrongSize {
            transfers.mismatched += 1;
            let file = self.clients[client.index()].file;
            self.difference.get_or_insert(Difference { file, client, offset: None });
        }
        self.sheet.counts.failures.count(failure);
        self.release(now, client);
    }

    /// The client's transfer is over.
    fn release(&mut self, now: Instant, client: ClientId) {
        self.sheet.live -= 1;
        match self.plan.load {
            Load::Closed { think } if think.micros() > 0 => {
                // The timer may stand later than that; it is moved then.
                self.timers.set(client, now + think);
            }
            Load::Open(_) | Load::Closed { .. } => {
                self.timers.cancel(client);
                self.ready.push_back(client);
            }
        }
    }

    #[inline]
    fn reply(&mut self, client: ClientId, ports: (u16, u16), reply: Reply, frame: Option<P::Frame>) {
        match reply {
            Reply::Nothing => {}
            Reply::Request => self.send_request(client),
            Reply::Ack(block) => {
                let mut packet = [0; 4];
                // Four bytes are an ACK's length.
                let len = Tftp::Ack { block }.emit(&mut packet).unwrap_or_default();
                self.sheet.counts.packets.acks += 1;
                self.link.send(client, ports, &packet[..len], frame, &mut self.sheet.counts.frames);
            }
            Reply::Error(code) => self.send_error(client, ports, code, frame),
        }
    }

    fn send_request(&mut self, client: ClientId) {
        let Client { file, port, .. } = self.clients[client.index()];
        self.sheet.counts.packets.requests += 1;
        let ports = (port, self.plan.server_port);
        self.link.send(client, ports, self.content.request(file), None, &mut self.sheet.counts.frames);
    }

    fn send_error(&mut self, client: ClientId, ports: (u16, u16), code: u16, frame: Option<P::Frame>) {
        let message: &[u8] = match code {
            0 => b"Stopped",
            4 => b"Block too long",
            5 => b"Unknown transfer ID",
            _ => b"Options refused",
        };
        let mut packet = [0; 32];
        // The longest text takes 19 bytes beside the fixed 5.
        let len = Tftp::Error { code, message }.emit(&mut packet).unwrap_or_default();
        self.sheet.counts.packets.errors += 1;
        self.link.send(client, ports, &packet[..len], frame, &mut self.sheet.counts.frames);
    }
}

/// Where sheets are exchanged: full ones go out, empty ones come back.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) full: SyncSender<Box<Snapshot>>,
    pub(crate) empty: Receiver<Box<Snapshot>>,
}

/// How long a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasted {
    /// Until no transfer began any more.
    pub(crate) load: Duration,
    /// Until the last block came, or the load's end where that was later.
    pub(crate) busy: Duration,
    /// In all.
    pub(crate) all: Duration,
}

/// Runs to the end. `stop` counts requests to stop: after the first no transfer begins, the second ends it.
pub(crate) fn run<P: Port>(
    generator: &mut Generator<P>,
    now: impl Fn() -> Instant,
    stop: &AtomicU32,
    exchange: &Exchange,
) -> Lasted {
    let mut turn_at = Instant::ORIGIN + INTERVAL;
    let mut load_ended = None;
    loop {
        let time = now();
        match stop.load(Ordering::Relaxed) {
            0 => {}
            1 => generator.end_load(time),
            _ => generator.end(),
        }
        let going_on = generator.step(time);
        if generator.phase != Phase::Loading {
            load_ended.get_or_insert(time);
        }
        if time >= turn_at || !going_on {
            turn_at = time + INTERVAL;
            // Without an empty sheet the interval becomes longer; at the end one is waited for.
            let empty = if going_on { exchange.empty.try_recv().ok() } else { exchange.empty.recv().ok() };
            if let Some(empty) = empty {
                // As many places as sheets: it cannot be full. A watcher that has failed is asked for its reason later.
                drop(exchange.full.try_send(generator.turn_sheet(time, empty)));
            }
        }
        if !going_on {
            let load = load_ended.unwrap_or(time) - Instant::ORIGIN;
            let busy = load.max(generator.last_block - Instant::ORIGIN);
            return Lasted { load, busy, all: time - Instant::ORIGIN };
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
