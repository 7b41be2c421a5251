//! Looking on: copies of the frames that a lane receives and sends, in rings that the worker never waits for. Costs a lane without
//! taps one branch per burst; a lane with taps copies what their filters let through, and counts what finds no room.

use crate::counter::Counter;
use crate::port::{Backlog, Burst, Frame, Port};
use crate::time::Instant;
use crate::wire;
use core::net::IpAddr;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the wire.
    Received,
    /// To it.
    Sent,
}

/// What a frame is, for a [`TapFilter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// ARP.
    Arp,
    /// ICMP, or ICMPv6 with neighbour discovery.
    Icmp,
    /// UDP.
    Udp,
}

/// Which frames are copied: those for which everything that is given holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// Source or destination address; of ARP, sender or target.
    pub host: Option<IpAddr>,
    /// Source or destination UDP port.
    pub port: Option<u16>,
    /// What it is.
    pub layer: Option<Layer>,
}

impl TapFilter {
    /// Whether the frame that begins with these bytes is wanted. What cannot be read far enough is not, unless all are.
    #[must_use]
    pub fn wants(&self, frame: &[u8]) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Some(head) = Head::read(frame) else { return false };
        self.layer.is_none_or(|layer| head.layer == Some(layer))
            && self.host.is_none_or(|host| head.addresses.contains(&Some(host)))
            && self.port.is_none_or(|port| head.ports.is_some_and(|ports| ports.contains(&port)))
    }
}

/// What a filter looks at. Reads leniently: a damaged frame is what people look for.
struct Head {
    layer: Option<Layer>,
    addresses: [Option<IpAddr>; 2],
    ports: Option<[u16; 2]>,
}

impl Head {
    fn read(frame: &[u8]) -> Option<Self> {
        let mut kind = short(frame, 12)?;
        let mut rest = frame.get(14..)?;
        if kind == wire::EtherType::VLAN.0 {
            kind = short(rest, 2)?;
            rest = rest.get(4..)?;
        }
        match wire::EtherType(kind) {
            wire::EtherType::ARP => {
                Some(Self { layer: Some(Layer::Arp), addresses: [v4(rest, 14), v4(rest, 24)], ports: None })
            }
            wire::EtherType::IPV4 => {
                let header_len = usize::from(*rest.first()? & 15) * 4;
                let first_fragment = short(rest, 6)? & 0x1fff == 0;
                let transport = rest.get(header_len..).filter(|_| first_fragment);
                Some(Self::of_ip(*rest.get(9)?, [v4(rest, 12), v4(rest, 16)], transport))
            }
            wire::EtherType::IPV6 => Some(Self::of_ip(*rest.get(6)?, [v6(rest, 8), v6(rest, 24)], rest.get(40..))),
            _ => Some(Self { layer: None, addresses: [None; 2], ports: None }),
        }
    }

    fn of_ip(protocol: u8, addresses: [Option<IpAddr>; 2], transport: Option<&[u8]>) -> Self {
        let (layer, ports) = match wire::Protocol(protocol) {
            wire::Protocol::UDP => {
                let ports = transport.and_then(|udp| Some([short(udp, 0)?, short(udp, 2)?]));
                (Some(Layer::Udp), ports)
            }
            wire::Protocol::ICMP | wire::Protocol::ICMPV6 => (Some(Layer::Icmp), None),
            _ => (None, None),
        };
        Self { layer, addresses, ports }
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

/// A copy of a frame.
#[derive(Debug)]
pub struct TapRecord {
    /// When its burst came or went, by the worker's clock.
    pub at: Instant,
    /// Which way.
    pub direction: Direction,
    /// Bytes of the whole frame.
    pub frame_len: usize,
    /// The first of them.
    pub bytes: Vec<u8>,
}

/// Records go round: from `free` through the worker to `full`, and from there through the reader back.
#[derive(Debug)]
struct Ring {
    free: ArrayQueue<Box<TapRecord>>,
    full: ArrayQueue<Box<TapRecord>>,
    lost: Counter,
}

/// The lane's end of one tap.
#[derive(Clone, Debug)]
pub struct Tap {
    filter: TapFilter,
    snaplen: usize,
    ring: Arc<Ring>,
}

/// The other end.
#[derive(Debug)]
pub struct TapReader(Arc<Ring>);

impl Tap {
    /// A tap for one lane, with room for `records` copies of at most `snaplen` bytes each, all of it allocated here.
    #[must_use]
    pub fn new(filter: TapFilter, records: usize, snaplen: usize) -> (Self, TapReader) {
        let records = records.max(1);
        let ring = Ring { free: ArrayQueue::new(records), full: ArrayQueue::new(records), lost: Counter::new() };
        for _ in 0..records {
            let bytes = Vec::with_capacity(snaplen);
            let record = TapRecord { at: Instant::ORIGIN, direction: Direction::Received, frame_len: 0, bytes };
            // As many as there is room for.
            let _ = ring.free.push(Box::new(record));
        }
        let ring = Arc::new(ring);
        (Self { filter, snaplen, ring: Arc::clone(&ring) }, TapReader(ring))
    }

    fn see<F: Frame>(&self, at: Instant, direction: Direction, frame: &F) {
        if !self.filter.wants(frame.bytes()) {
            return;
        }
        let Some(mut record) = self.ring.free.pop() else {
            self.ring.lost.add(1);
            return;
        };
        record.at = at;
        record.direction = direction;
        record.bytes.clear();
        record.frame_len = frame.copy_into(&mut record.bytes, self.snaplen);
        // There are no more records than places.
        let _ = self.ring.full.push(record);
    }
}

impl TapReader {
    /// Shows the copies that are there, oldest first.
    pub fn drain(&mut self, mut each: impl FnMut(&TapRecord)) {
        // Those that come meanwhile are for the next time: a fast lane must not keep its reader here.
        for _ in 0..self.0.full.len() {
            let Some(record) = self.0.full.pop() else { return };
            each(&record);
            let _ = self.0.free.push(record);
        }
    }

    /// Frames that were wanted and found no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.get()
    }
}

/// All taps of a lane.
#[derive(Debug)]
pub struct Taps {
    taps: Vec<Tap>,
    /// Frames at the front of the backlog that were seen already: the port did not take them yet.
    seen: usize,
}

impl Taps {
    /// These.
    #[must_use]
    pub const fn new(taps: Vec<Tap>) -> Self {
        Self { taps, seen: 0 }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn received<F: Frame>(&mut self, now: Instant, burst: &Burst<F>) {
        self.see(now, Direction::Received, burst.as_slice());
    }

    /// Sends, and sees what is sent. A frame is seen when it is first offered: it is gone when the port has taken it.
    #[cold]
    #[inline(never)]
    pub(super) fn send<P: Port>(&mut self, now: Instant, port: &mut P, backlog: &mut Backlog<P::Frame>) -> usize {
        if port.is_wire() {
            self.see(now, Direction::Sent, &backlog[self.seen.min(backlog.len())..]);
        }
        let sent = port.send(backlog);
        self.seen = backlog.len();
        sent
    }

    pub(super) const fn backlog_cleared(&mut self) {
        self.seen = 0;
    }

    fn see<F: Frame>(&self, now: Instant, direction: Direction, frames: &[F]) {
        for tap in &self.taps {
            frames.iter().for_each(|frame| tap.see(now, direction, frame));
        }
    }
}
