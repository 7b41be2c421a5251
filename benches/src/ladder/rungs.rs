//! What is measured: R0 a bare loop as testpmd's `5tswap`, R1 a null responder, R2 the worker of `bypassd` with nothing left out.
//! The only file here that knows how an engine is built and driven.

use super::verify::HEADERS;
use control::transfer_log::RECORDS;
use dataplane::dpdk::{Mbuf, Mempool, QueuePair, Tsc};
use dataplane::engine::{
    Answering, Ending, Engine, EngineConfig, Interface, Limits, LocalAddress, Outcome, TooManyAddresses,
};
use dataplane::files::Catalogue;
use dataplane::port::{BURST, Backlog, Burst, Frame, Port, TooLong};
use dataplane::random::Seed;
use dataplane::session::{ReplyPorts, WorkerIndex, WorkerShare};
use dataplane::tftp::{Policy, Retransmission};
use dataplane::time::{Duration, Instant};
use dataplane::wire::{MacAddr, Sum};
use dataplane::worker::{
    Attachment, DrainFlag, Lane, LaneCounters, Neighbourhood, Pace, RecordRing, StopFlag, Worker, WorkerStatus, mailbox,
};
use std::sync::Arc;

/// Sessions from which on one core cannot come back to each of them within the usual shortest wait: whoever serves so many
/// raises `retransmit_min_ms`.
const MANY_SESSIONS: u32 = 50_000;

/// What it is raised to.
const PATIENT_WAIT: Duration = Duration::from_secs(8);

/// A server under test.
pub(crate) trait Rung {
    /// One turn of its loop: receive, work, send.
    fn poll(&mut self);

    /// Frames that went out so far.
    fn sent(&self) -> u64;

    /// What it counted, for the message when replies are missing.
    fn describe(&self) -> String {
        String::new()
    }

    /// It is about to be measured: its clock runs from where it stood.
    fn resume(&mut self) {}

    /// It has been: its clock stands.
    fn pause(&mut self) {}

    /// Moves its clock, which stands, on.
    fn advance(&mut self, _by: Duration) {}
}

/// R0: receives a burst, exchanges source and destination of Ethernet, IPv4 and UDP in place, sends the burst. The checksums
/// stay right. One frame in, one out, whatever the window size.
pub(crate) struct Bare {
    port: QueuePair,
    burst: Burst<Mbuf>,
    backlog: Backlog<Mbuf>,
    /// What the frames that it sends are cut or stretched to; `None`: they stay as they are.
    reply_len: Option<usize>,
    sent: u64,
}

impl Bare {
    pub(crate) fn new(port: QueuePair, reply_len: Option<usize>) -> Self {
        Self { port, burst: Burst::new(), backlog: Backlog::new(), reply_len, sent: 0 }
    }
}

impl Rung for Bare {
    #[inline]
    fn poll(&mut self) {
        // What the last burst left is sent first; a full ring holds the receiver up, as it does a lane.
        if self.backlog.remaining_capacity() >= BURST {
            self.port.receive(&mut self.burst);
        }
        for mut frame in self.burst.drain(..) {
            if let Some(headers) = frame.bytes_mut().first_chunk_mut::<HEADERS>() {
                turn_around(headers);
            }
            if let Some(len) = self.reply_len {
                // A buffer that is too short leaves the frame as it is; verification would tell.
                let _ = frame.resize(len);
            }
            self.backlog.push(frame);
        }
        if !self.backlog.is_empty() {
            self.sent += self.port.send(&mut self.backlog) as u64;
        }
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

/// Exchanges both ends of a flow.
#[inline]
fn turn_around(headers: &mut [u8; HEADERS]) {
    exchange::<6>(headers, 0);
    exchange::<4>(headers, 26);
    exchange::<2>(headers, 34);
}

/// Exchanges two neighbouring fields of `N` bytes.
#[inline]
fn exchange<const N: usize>(headers: &mut [u8; HEADERS], start: usize) {
    if let Some((first, rest)) = headers[start..].split_first_chunk_mut::<N>()
        && let Some(second) = rest.first_chunk_mut::<N>()
    {
        core::mem::swap(first, second);
    }
}

/// R1: takes every frame for an ACK and answers with one window of constant DATA: headers written, payload copied, checksums
/// right (the payload's sum is known). No session, no file, no check of what came in.
pub(crate) struct Null {
    port: QueuePair,
    burst: Burst<Mbuf>,
    backlog: Backlog<Mbuf>,
    payload: Vec<u8>,
    payload_sum: Sum,
    windowsize: u16,
    sent: u64,
}

impl Null {
    pub(crate) fn new(port: QueuePair, payload: Vec<u8>, windowsize: u16) -> Self {
        let payload_sum = Sum::of(&payload);
        Self { port, burst: Burst::new(), backlog: Backlog::new(), payload, payload_sum, windowsize, sent: 0 }
    }
}

/// The headers of replies to one ACK, block number and UDP checksum left open.
struct Reply {
    headers: [u8; HEADERS + 4],
    acked: u16,
    /// Of everything that the UDP checksum covers but the block number.
    sum: Sum,
}

impl Reply {
    /// The ACK's own checksums are right, so that only what changes has to be put into them (RFC 1624).
    #[inline]
    fn to(ack: &[u8], payload_len: usize, payload_sum: Sum) -> Option<Self> {
        let mut headers = *ack.first_chunk::<{ HEADERS + 4 }>()?;
        let field = |offset: usize| u16::from_be_bytes([headers[offset], headers[offset + 1]]);
        let (ip_checksum, udp_checksum, acked) = (field(24), field(40), field(44));
        let (ack_len, udp_len) = (field(38), u16::try_from(8 + 4 + payload_len).ok()?);
        let checksum = Sum::from_folded(!ip_checksum).add_u16(!ack_len).add_u16(udp_len).finish();
        // The length counts twice: in the header and in the pseudo-header. Opcode 4 becomes 3.
        let sum = Sum::from_folded(!udp_checksum)
            .add_u16(!ack_len)
            .add_u16(!ack_len)
            .add_u16(udp_len)
            .add_u16(udp_len)
            .add_u16(!4)
            .add_u16(3)
            .add_u16(!acked)
            .combine(payload_sum);
        turn_around(headers.first_chunk_mut()?);
        headers[16..18].copy_from_slice(&(20 + udp_len).to_be_bytes());
        headers[24..26].copy_from_slice(&checksum.to_be_bytes());
        headers[38..40].copy_from_slice(&udp_len.to_be_bytes());
        headers[43] = 3;
        Some(Self { headers, acked, sum })
    }

    /// Makes `frame` the DATA packet number `number` of the window.
    #[inline]
    fn write(&mut self, number: u16, payload: &[u8], frame: &mut Mbuf) -> Result<(), TooLong> {
        let block = self.acked.wrapping_add(number);
        self.headers[44..46].copy_from_slice(&block.to_be_bytes());
        // RFC 768: a checksum of zero is sent as all ones.
        let checksum = match self.sum.add_u16(block).finish() {
            0 => u16::MAX,
            checksum => checksum,
        };
        self.headers[40..42].copy_from_slice(&checksum.to_be_bytes());
        frame.resize(self.headers.len() + payload.len())?;
        let (head, body) = frame.bytes_mut().split_at_mut(self.headers.len());
        head.copy_from_slice(&self.headers);
        body.copy_from_slice(payload);
        Ok(())
    }
}

impl Rung for Null {
    #[inline]
    fn poll(&mut self) {
        let Self { port, burst, backlog, payload, payload_sum, windowsize, sent } = self;
        // What the last burst left is sent first; a full ring holds the receiver up, as it does a lane.
        if backlog.remaining_capacity() >= BURST {
            port.receive(burst);
        }
        for frame in burst.drain(..) {
            let Some(mut reply) = Reply::to(frame.bytes(), payload.len(), *payload_sum) else { continue };
            let mut received = Some(frame);
            for number in 1..=*windowsize {
                let Some(mut frame) = received.take().or_else(|| port.allocate()) else { break };
                // What does not fit is lost: the generator counts what comes back.
                if reply.write(number, payload, &mut frame).is_ok() {
                    let _ = backlog.try_push(frame);
                }
                if backlog.len() >= BURST {
                    *sent += port.send(backlog) as u64;
                }
            }
        }
        if !backlog.is_empty() {
            *sent += port.send(backlog) as u64;
        }
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

/// What R2 is made of.
pub(crate) struct FullConfig {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) mac: [u8; 6],
    pub(crate) address: LocalAddress,
    pub(crate) mtu: u16,
    pub(crate) sessions: u32,
}

/// R2: the worker as `bypassd` builds and runs it, one lane, alone on its port. Its clock, the TSC, is read in every turn; it
/// runs only while the rung is polled, as if the generator were another machine that keeps it busy all the time.
///
/// With 50,000 sessions and more the shortest wait before a resend is 8 s: their timers do not fall due while the case is
/// measured. In truth each would be looked at once in 8 s. With fewer the wait is the usual 50 ms, and the timers run at their rate.
pub(crate) struct Full {
    worker: Worker<Attachment<QueuePair, Arc<Mempool>>>,
    counters: Arc<LaneCounters>,
    pace: Pace,
    tsc: Tsc,
    /// Its clock, while that stands.
    stands_at: Option<Instant>,
    /// How far its clock is behind the TSC's, while that runs.
    behind_us: u64,
}

impl Full {
    pub(crate) fn new(port: QueuePair, config: FullConfig, tsc: Tsc) -> Result<Self, TooManyAddresses> {
        let FullConfig { catalogue, mac, address, mtu, sessions } = config;
        let defaults = Limits::default();
        let limits = Limits { max_sessions: defaults.max_sessions.max(sessions), ..defaults };
        let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
        let engine = EngineConfig {
            interface: Interface::new(MacAddr(mac), mtu, &[address])?,
            policy: policy(sessions),
            limits,
            share,
            seed: Seed([0x1A; 16]),
            answering: Answering::Ourselves,
            reply_ports: ReplyPorts::default(),
        };
        let now = tsc.now();
        let engine = Engine::new(engine, catalogue, now);
        let counters = Arc::new(LaneCounters::with_records(RECORDS));
        let lane =
            Lane::new(engine, Attachment::Queue(port), share.index, Neighbourhood::alone(), Arc::clone(&counters));
        let (_, mailbox) = mailbox();
        let worker = Worker {
            lanes: vec![lane],
            mailbox,
            drain: DrainFlag::new(),
            stop: StopFlag::new(),
            status: Arc::new(WorkerStatus::default()),
            idle_sleep: None,
        };
        Ok(Self { worker, counters, pace: Pace::default(), tsc, stands_at: Some(now), behind_us: 0 })
    }

    /// What it counted.
    pub(crate) fn counters(&self) -> &LaneCounters {
        &self.counters
    }

    /// Takes the records of transfers that have ended, as bypassd's log does on another CPU.
    pub(crate) fn take_records(&self) {
        while self.counters.records.as_ref().and_then(RecordRing::pop).is_some() {}
    }
}

impl Rung for Full {
    #[inline]
    fn poll(&mut self) {
        if !self.worker.stop.is_raised() {
            let running = Instant::from_micros(self.tsc.now().micros() - self.behind_us);
            self.worker.turn(self.stands_at.unwrap_or(running), &mut self.pace);
        }
    }

    fn sent(&self) -> u64 {
        self.counters.tx_frames.get()
    }

    #[cold]
    fn describe(&self) -> String {
        let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome.name(), self.counters.outcome(outcome)));
        let endings = Ending::ALL.into_iter().map(|ending| (ending.name(), self.counters.ending(ending)));
        let others = [
            ("data_blocks", &self.counters.data_blocks),
            ("blocks_again", &self.counters.blocks_again),
            ("pool_empty", &self.counters.pool_empty),
            ("tx_dropped", &self.counters.tx_dropped),
        ]
        .map(|(name, counter)| (name, counter.get()));
        let shown = outcomes.chain(endings).chain(others).filter(|(_, count)| *count > 0);
        shown.map(|(name, count)| format!("; {name} {count}")).collect()
    }

    fn advance(&mut self, by: Duration) {
        self.stands_at = self.stands_at.map(|moment| moment + by);
    }

    fn resume(&mut self) {
        if let Some(moment) = self.stands_at.take() {
            self.behind_us = (self.tsc.now() - moment).micros();
        }
    }

    fn pause(&mut self) {
        self.stands_at = Some(Instant::from_micros(self.tsc.now().micros() - self.behind_us));
    }
}

fn policy(sessions: u32) -> Policy {
    let defaults = Policy::default();
    if sessions < MANY_SESSIONS {
        return defaults;
    }
    let retransmission = Retransmission { min: PATIENT_WAIT, initial: PATIENT_WAIT, ..defaults.retransmission };
    Policy { retransmission, ..defaults }
}
