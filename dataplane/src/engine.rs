//! One frame in, frames out: [`Engine::handle`]. No DPDK, no clock, no log, no counter, no heap after construction.
//!
//! A received frame is moved in and, where it can, leaves as the reply. Each call of `handle` returns what became of its frame;
//! what happens besides is reported to the [`Output`].

mod ahead;
mod answers;
mod clients;
mod envelope;
mod finished;
mod generations;
mod interface;
mod limits;
mod neighbours;
mod on_demand;
mod outcome;
mod output;
mod parked;
mod ready;
mod request;
mod serve;
mod shelf;
mod template;
mod view;

pub use finished::{Finished, NAME_KEPT, Refused};
pub use generations::CATALOGUES_MAX;
pub use interface::{ADDRESSES_MAX, Interface, LocalAddress, TooManyAddresses};
pub use neighbours::{Neighbour, Neighbours};
pub use outcome::{Fate, Outcome};
pub use output::{CacheEvent, Ending, Event, Output};
pub use parked::Unavailable;
pub use shelf::{PlaceUse, ShelfUse, Shelfmark, Title, Wants};
pub use view::{SessionState, SessionView};

use crate::files::{Arena, Catalogue};
use crate::port::{ArenaNumber, Frame, ReceivedChecksums};
use crate::random::{Random, Seed};
use crate::rules::Rules;
use crate::session::{Client, Miss, ReplyPorts, SlotId, Steering, Table, Timers, WorkerIndex, WorkerShare};
use crate::tftp::packet::ack_block;
use crate::tftp::{Policy, REQUEST_PORT};
use crate::time::Instant;
use crate::wire::{self, Checks, Flow, Malformed, Packet, Parsed, ShortDatagram, Span, ethernet, icmpv4, icmpv6};
use core::net::IpAddr;
use generations::Generations;
use limits::{ErrorBudget, UnprovenCounts};
use parked::{Parked, Standing};
use ready::Ready;
use request::Datagram;
use std::sync::Arc;
use template::Templates;

/// How much of everything there may be in one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions, lingering ones included.
    pub max_sessions: u32,
    /// Sessions whose client has not answered yet; beyond, the oldest of them goes.
    pub max_unproven: u32,
    /// The same for one client address; beyond, its requests are dropped.
    pub max_unproven_per_address: u32,
    /// ERROR packets per second to one prefix (IPv4 /24, IPv6 /64).
    pub errors_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_sessions: 64_000, max_unproven: 16_384, max_unproven_per_address: 256, errors_per_second: 1_000 }
    }
}

/// What may change while an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How transfers are run; their sizes and windows are those that they began with.
    pub policy: Policy,
    /// Limits of the worker; `max_sessions` has no effect, for the memory of the sessions is allocated.
    pub limits: Limits,
}

/// Who answers what is not TFTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// We do: ARP, neighbour discovery and ping.
    Ourselves,
    /// The kernel does, through an interface that has the port's MAC: it gets every frame that is not ours.
    Kernel,
}

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Our side of the port.
    pub interface: Interface,
    /// How transfers are run.
    pub policy: Policy,
    /// Limits of this worker.
    pub limits: Limits,
    /// This worker among all.
    pub share: WorkerShare,
    /// The secret that all workers share.
    pub seed: Seed,
    /// Who answers ARP and the like.
    pub answering: Answering,
    /// Where replies come from, the same for all workers; see [`ReplyPorts::check`].
    pub reply_ports: ReplyPorts,
}

/// Protocols, sessions and timers of one worker on one port.
#[derive(Debug)]
pub struct Engine {
    interface: Interface,
    templates: Templates,
    policy: Policy,
    limits: Limits,
    share: WorkerShare,
    seed: Seed,
    answering: Answering,
    /// What is known of the way of datagrams to the workers; `None` where nothing is, and for a worker that is alone.
    steering: Option<Arc<Steering>>,
    /// Who may have what under which name; `None`: everybody everything.
    rules: Option<Arc<Rules>>,
    random: Random,
    table: Table,
    timers: Timers,
    ready: Ready,
    generations: Generations,
    /// Where files are asked for that are not here; `None`: nobody would bring them.
    wants: Option<Wants>,
    parked: Parked,
    neighbours: Neighbours,
    errors: ErrorBudget,
    unproven_by_address: UnprovenCounts,
    unproven: u32,
    lingering: u32,
    draining: bool,
    /// Timers were looked at up to this millisecond.
    timers_seen_ms: u64,
}

impl Engine {
    /// An engine that serves `catalogue`; allocates all it will ever need.
    #[must_use]
    pub fn new(config: EngineConfig, catalogue: Arc<Catalogue>, now: Instant) -> Self {
        let EngineConfig { interface, policy, limits, share, seed, answering, reply_ports } = config;
        let table = Table::new(limits.max_sessions, share, reply_ports, seed);
        Self {
            timers: Timers::new(table.slots(), now),
            ready: Ready::new(table.slots()),
            table,
            generations: Generations::new(catalogue),
            wants: None,
            parked: Parked::new(0),
            neighbours: Neighbours::new(seed),
            errors: ErrorBudget::new(seed, limits.errors_per_second, now),
            unproven_by_address: UnprovenCounts::new(seed),
            random: Random::new(seed, u64::from(share.index.0)),
            templates: Templates::new(&interface),
            interface,
            policy,
            limits,
            share,
            seed,
            answering,
            steering: None,
            rules: None,
            unproven: 0,
            lingering: 0,
            draining: false,
            timers_seen_ms: now.millis(),
        }
    }

    /// Handles one received frame. Returns its outcome, or `None` when it went to the worker that owns its flow, where it will
    /// have one.
    #[inline(always)]
    pub fn handle<O: Output>(&mut self, now: Instant, frame: O::Frame, out: &mut O) -> Option<Outcome> {
        if !frame.is_linear() {
            return Some(Outcome::Chained);
        }
        let checks = match frame.received_checksums() {
            ReceivedChecksums::Good => Checks::TRUST,
            ReceivedChecksums::Unchecked => Checks::VERIFY,
        };
        if let Some(datagram) = ShortDatagram::parse(frame.bytes(), checks)
            && let Some((slot, block)) = self.find_acked(&datagram)
        {
            return Some(self.on_ack(now, slot, block, frame, out));
        }
        self.handle_any(now, checks, frame, out)
    }

    /// The session and the block that an ACK speaks of; `None` when the datagram is anything else.
    #[inline(always)]
    fn find_acked(&self, datagram: &ShortDatagram) -> Option<(SlotId, u16)> {
        let block = ack_block(datagram.payload)?;
        let client = Client::from_ipv4(datagram.src, datagram.src_port);
        let slot = self.table.find(datagram.dst_port, &client).ok()?;
        let is_for_us = datagram.dst_mac == self.interface.mac()
            && self.interface.address(self.table.get(slot).local()) == IpAddr::V4(datagram.dst);
        is_for_us.then_some((slot, block))
    }

    /// Any frame, whatever it is.
    #[inline(never)]
    fn handle_any<O: Output>(&mut self, now: Instant, checks: Checks, frame: O::Frame, out: &mut O) -> Option<Outcome> {
        let parsed = match wire::parse(frame.bytes(), checks) {
            Ok(parsed) => parsed,
            Err(malformed) => return Some(self.on_malformed(malformed, frame, out)),
        };
        if let Packet::Udp { flow, payload } = parsed.packet
            && parsed.link.dst == self.interface.mac()
            && let Some(local) = self.interface.find(flow.addresses.dst())
        {
            return self.on_udp(now, &Datagram { link: parsed.link, flow, local, payload }, frame, out);
        }
        match self.answering {
            Answering::Ourselves => self.on_other(now, &parsed, frame, out),
            Answering::Kernel => self.beside_kernel(now, &parsed, frame, out),
        }
    }

    /// What is not UDP to us, where a kernel answers: everything is the kernel's but an ICMP error about a session of ours.
    fn beside_kernel<O: Output>(
        &mut self,
        now: Instant,
        parsed: &Parsed,
        frame: O::Frame,
        out: &mut O,
    ) -> Option<Outcome> {
        let quoted = match &parsed.packet {
            Packet::Icmpv4 {
                message: icmpv4::Message::DestinationUnreachable { code: icmpv4::PORT_UNREACHABLE, quoted },
                ..
            }
            | Packet::Icmpv6 {
                message: icmpv6::Message::DestinationUnreachable { code: icmpv6::PORT_UNREACHABLE, quoted },
                ..
            } => quoted.as_ref(),
            _ => None,
        };
        match quoted.map(|quoted| (quoted, self.owner_of_quoted(quoted))) {
            Some((_, Some(owner))) if self.is_other_worker(owner) => hand_over(owner, frame, out),
            Some((quoted, Some(_))) if self.on_unreachable(now, quoted, out) == Outcome::Unreachable => {
                Some(Outcome::Unreachable)
            }
            _ => Some(to_kernel(frame, out)),
        }
    }

    /// UDP to one of our addresses.
    #[inline]
    fn on_udp<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        frame: O::Frame,
        out: &mut O,
    ) -> Option<Outcome> {
        let port = datagram.flow.dst_port;
        if port == REQUEST_PORT {
            return self.on_request_port(now, datagram, frame, out);
        }
        match self.table.tids().owner(port) {
            Some(owner) if self.is_other_worker(owner) => hand_over(owner, frame, out),
            // A port from which nobody is served may be one of the kernel's own.
            Some(owner) if owner == self.share.index && (self.answers() || self.is_serving_from_its_port(datagram)) => {
                Some(self.on_session_datagram(now, datagram, frame, out))
            }
            _ if self.answers() => Some(Outcome::NoListener),
            _ => Some(to_kernel(frame, out)),
        }
    }

    #[inline]
    fn on_request_port<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        frame: O::Frame,
        out: &mut O,
    ) -> Option<Outcome> {
        if matches!(datagram.flow.src_port, 0 | REQUEST_PORT) {
            return Some(Outcome::SourcePortForbidden);
        }
        if self.interface.forbids_source(datagram.flow.addresses.src()) {
            return Some(Outcome::SourceForbidden);
        }
        if self.share.workers > 1 {
            let client = Client::new(datagram.flow.addresses.src(), datagram.flow.src_port);
            let owner = self.owner_of(&client, datagram.flow.addresses.dst());
            if owner != self.share.index {
                return hand_over(owner, frame, out);
            }
        }
        Some(self.on_request(now, datagram, frame, out))
    }

    /// What is not UDP to us, where we answer for ourselves.
    fn on_other<O: Output>(&mut self, now: Instant, parsed: &Parsed, frame: O::Frame, out: &mut O) -> Option<Outcome> {
        let link = &parsed.link;
        if !self.interface.accepts(link.dst) {
            return Some(Outcome::NotOurMac);
        }
        Some(match &parsed.packet {
            Packet::Arp(packet) => self.on_arp(now, link, packet, frame, out),
            Packet::Icmpv4 { src, dst, message, span } => {
                if !self.is_for_us(link, IpAddr::V4(*dst)) {
                    return Some(Outcome::NotOurAddress);
                }
                match message {
                    icmpv4::Message::EchoRequest { .. } => self.on_echo_v4(link, *src, *dst, *span, frame, out),
                    icmpv4::Message::DestinationUnreachable {
                        code: icmpv4::PORT_UNREACHABLE,
                        quoted: Some(quoted),
                    } => {
                        return self.route_unreachable(now, quoted, frame, out);
                    }
                    _ => Outcome::IcmpOther,
                }
            }
            Packet::Icmpv6 { src, dst, message, span } => {
                return self.on_icmpv6(now, parsed, (*src, *dst), message, *span, frame, out);
            }
            Packet::Udp { .. } => Outcome::NotOurAddress,
            Packet::OtherIp(_) => Outcome::NotUdp,
            Packet::OtherEtherType(_) => Outcome::NotIp,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one parsed frame")]
    fn on_icmpv6<O: Output>(
        &mut self,
        now: Instant,
        parsed: &Parsed,
        (src, dst): (core::net::Ipv6Addr, core::net::Ipv6Addr),
        message: &icmpv6::Message,
        span: Span,
        frame: O::Frame,
        out: &mut O,
    ) -> Option<Outcome> {
        let link = &parsed.link;
        let unicast = self.is_for_us(link, IpAddr::V6(dst));
        if !unicast && !self.interface.is_member(dst) {
            return Some(Outcome::NotOurAddress);
        }
        Some(match message {
            icmpv6::Message::NeighbourSolicitation(solicitation) => {
                self.on_solicitation(now, parsed, src, solicitation, frame, out)
            }
            icmpv6::Message::NeighbourAdvertisement(advertisement) => self.on_advertisement(now, link, advertisement),
            icmpv6::Message::EchoRequest { .. } if unicast => self.on_echo_v6(link, src, dst, span, frame, out),
            icmpv6::Message::DestinationUnreachable { code: icmpv6::PORT_UNREACHABLE, quoted: Some(quoted) }
                if unicast =>
            {
                return self.route_unreachable(now, quoted, frame, out);
            }
            _ => Outcome::IcmpOther,
        })
    }

    /// An ICMP error belongs to the worker that owns the TID which it quotes.
    fn route_unreachable<O: Output>(
        &mut self,
        now: Instant,
        quoted: &Flow,
        frame: O::Frame,
        out: &mut O,
    ) -> Option<Outcome> {
        match self.owner_of_quoted(quoted) {
            Some(owner) if self.is_other_worker(owner) => hand_over(owner, frame, out),
            _ => Some(self.on_unreachable(now, quoted, out)),
        }
    }

    /// The worker that sent what an ICMP error quotes; `None` when none of us did.
    fn owner_of_quoted(&self, quoted: &Flow) -> Option<WorkerIndex> {
        if !self.table.tids().is_single() {
            return self.table.tids().owner(quoted.src_port);
        }
        let client = Client::new(quoted.addresses.dst(), quoted.dst_port);
        (quoted.src_port == REQUEST_PORT).then(|| self.owner_of(&client, quoted.addresses.src()))
    }

    #[cold]
    fn on_malformed<O: Output>(&self, malformed: Malformed, frame: O::Frame, out: &mut O) -> Outcome {
        match self.answering {
            Answering::Ourselves => malformed.into(),
            // What we cannot read may still be something to the kernel: a fragment of TCP, a double tag.
            Answering::Kernel => to_kernel(frame, out),
        }
    }

    /// RFC 1122 §3.3.6: a packet to one of our addresses that was broadcast on the link is nobody's business.
    fn is_for_us(&self, link: &ethernet::Header, destination: IpAddr) -> bool {
        link.dst == self.interface.mac() && self.interface.find(destination).is_some()
    }

    /// Whether somebody, not necessarily its sender, is served from the TID that a datagram came to.
    fn is_serving_from_its_port(&self, datagram: &Datagram) -> bool {
        let client = Client::new(datagram.flow.addresses.src(), datagram.flow.src_port);
        self.table.find(datagram.flow.dst_port, &client) != Err(Miss::NoSession)
    }

    /// Whether what is not TFTP is for us to answer.
    fn answers(&self) -> bool {
        self.answering == Answering::Ourselves
    }

    const fn is_other_worker(&self, owner: WorkerIndex) -> bool {
        owner.0 != self.share.index.0 && owner.0 < self.share.workers
    }

    /// The worker that takes this client's requests, the same whatever queue they arrive on: where it is known, the one on whose
    /// queue they should.
    fn owner_of(&self, client: &Client, local: IpAddr) -> WorkerIndex {
        if let Some(arrival) = self.steering.as_ref().and_then(|steering| steering.arrival(client, local)) {
            return arrival.at(REQUEST_PORT);
        }
        let hash = client.hash(&self.seed) >> 32;
        WorkerIndex(u16::try_from(hash % u64::from(self.share.workers)).unwrap_or_default())
    }

    /// Goes by RSS from now on, so that requests and ACKs need not be handed over. All workers of the port must, or none, and
    /// before they serve.
    #[cold]
    pub fn steer_by(&mut self, steering: Arc<Steering>) {
        self.steering = (self.share.workers > 1).then_some(steering);
    }

    /// Whether new requests are ignored from now on; running transfers go on either way.
    #[cold]
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Goes by other terms from now on.
    #[cold]
    pub fn set_terms(&mut self, terms: &Terms) {
        self.policy = terms.policy;
        self.limits = Limits { max_sessions: self.limits.max_sessions, ..terms.limits };
        self.errors.set_rate(terms.limits.errors_per_second);
    }

    /// Sessions that still want to send something or wait for an answer.
    #[must_use]
    pub fn active_sessions(&self) -> u32 {
        self.table.live() - self.lingering
    }

    /// Whether [`pump`](Self::pump) or a timer has work that does not wait for a frame.
    #[must_use]
    pub fn has_ready_sessions(&self) -> bool {
        self.ready.len() > 0
    }

    /// New transfers read `catalogue` from now on; running ones keep theirs.
    ///
    /// # Errors
    /// Gives it back while too many older ones still have readers.
    pub fn install(&mut self, catalogue: Arc<Catalogue>) -> Result<(), Arc<Catalogue>> {
        self.generations.install(catalogue)?;
        // What they wait for is of the old one.
        self.parked.settle_all(Standing::Ready);
        Ok(())
    }

    /// Catalogues that it still has, the current one included.
    #[must_use]
    pub fn catalogues(&self) -> usize {
        self.generations.count()
    }

    /// A catalogue that no transfer reads any more and whose arena `may_go`, since a port that it was lent to has given it back; to
    /// be dropped elsewhere: giving back its memory takes a while.
    pub fn take_unread_catalogue(&mut self, mut may_go: impl FnMut(ArenaNumber) -> bool) -> Option<Arc<Catalogue>> {
        self.generations.take_unread(|generation| may_go(ArenaNumber(generation)))
    }

    /// The memory that new transfers read, and the number under which their payloads name it.
    #[must_use]
    pub fn current_arena(&self) -> (ArenaNumber, &Arc<Arena>) {
        let generation = self.generations.current();
        (ArenaNumber(generation), self.generations.arena(generation))
    }

    /// Bytes that sessions take: their lines, indices, timers and queues. All of it is allocated at the beginning.
    #[must_use]
    pub fn session_bytes(&self) -> usize {
        self.table.bytes() + self.timers.bytes() + self.ready.bytes()
    }

    /// What ARP and ND told.
    #[must_use]
    pub const fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Our side of the port.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }
}

fn hand_over<O: Output>(owner: WorkerIndex, frame: O::Frame, out: &mut O) -> Option<Outcome> {
    match out.hand_over(owner, frame) {
        Ok(()) => None,
        Err(_dropped) => Some(Outcome::HandOverFull),
    }
}

fn to_kernel<O: Output>(frame: O::Frame, out: &mut O) -> Outcome {
    match out.to_kernel(frame) {
        Ok(()) => Outcome::ToKernel,
        Err(_dropped) => Outcome::KernelFull,
    }
}
