//! The clients' end of the wire: frames out with the loss that was asked for, and the answers that hosts owe each other (ARP,
//! neighbour discovery). Knows no transfer.

use dataplane::port::{Backlog, Burst, Frame, Port};
use dataplane::random::Random;
use dataplane::time::{Duration, Instant};
use dataplane::wire::{BufferTooShort, Flow, MacAddr, Packet, Parsed, arp, icmpv6, ndp};
use dataplane::wire::{Check, Checks, parse};

use super::population::{ClientId, Population};
use super::tally::Frames;
use super::wire::{self, Link as Stations};

/// Between two questions for the server's MAC.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Drops frames at random.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// Of 2^32.
    threshold: u64,
    random: Random,
}

impl Loss {
    /// `percent` of all frames, 0 to 100.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^32 after the clamp")]
    pub(crate) fn new(percent: f64, random: Random) -> Self {
        Self { threshold: (percent.clamp(0.0, 100.0) / 100.0 * 4_294_967_296.0) as u64, random }
    }

    /// Whether the next frame is lost.
    #[inline]
    pub(crate) fn strikes(&mut self) -> bool {
        self.threshold > 0 && (self.random.next_u64() >> 32) < self.threshold
    }
}

/// A port, what waits to be sent, and whose it is.
pub(crate) struct Link<P: Port> {
    port: P,
    backlog: Backlog<P::Frame>,
    population: Population,
    server_mac: MacAddr,
    loss: Loss,
}

impl<P: Port> Link<P> {
    /// Of these clients. Until the server's MAC is [known](Self::set_server_mac), frames to it go to everybody.
    pub(crate) fn new(port: P, population: Population, loss: Loss) -> Self {
        Self { port, backlog: Backlog::new(), population, server_mac: MacAddr::BROADCAST, loss }
    }

    /// Who the clients are.
    #[inline]
    pub(crate) fn population(&self) -> &Population {
        &self.population
    }

    /// Where frames to the server go from now on.
    pub(crate) fn set_server_mac(&mut self, mac: MacAddr) {
        self.server_mac = mac;
    }

    /// The port, for a test that plays the network.
    #[cfg(test)]
    pub(crate) fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Frames that can still be sent in this pass.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.backlog.remaining_capacity()
    }

    /// Takes what has come.
    #[inline]
    pub(crate) fn receive(&mut self, burst: &mut Burst<P::Frame>) {
        self.port.receive(burst);
    }

    /// Gives the port what waits, as far as it takes it.
    #[inline]
    pub(crate) fn flush(&mut self, frames: &mut Frames) {
        // An empty burst too: some drivers give sent buffers back only when they are called.
        frames.sent += self.port.send(&mut self.backlog) as u64;
    }

    /// Checks a received frame and says what it is.
    #[inline]
    pub(crate) fn read(&self, frame: &P::Frame) -> Option<Parsed> {
        use dataplane::port::ReceivedChecksums;
        let checks = match frame.received_checksums() {
            ReceivedChecksums::Good => Checks { ip: Check::Trust, udp: Check::Trust },
            ReceivedChecksums::Unchecked => Checks::VERIFY,
        };
        if frame.is_linear() { parse(frame.bytes(), checks).ok() } else { None }
    }

    /// Whether this received frame is to be lost.
    #[inline]
    pub(crate) fn loses(&mut self) -> bool {
        self.loss.strikes()
    }

    /// Sends a datagram from a client to the server, in `frame` where there is one to write over.
    #[inline]
    pub(crate) fn send(
        &mut self,
        client: ClientId,
        ports: (u16, u16),
        payload: &[u8],
        frame: Option<P::Frame>,
        frames: &mut Frames,
    ) {
        if self.loss.strikes() {
            frames.lost_sent += 1;
            return;
        }
        let Some(frame) = frame.or_else(|| self.port.allocate()) else {
            frames.pool_empty += 1;
            return;
        };
        let addresses = self.population.addresses(client);
        let flow = Flow { addresses, src_port: ports.0, dst_port: ports.1 };
        let stations = Stations { src: self.population.mac(client), dst: self.server_mac };
        let len = wire::udp_frame_len(&addresses, payload);
        self.put(frame, len, frames, |out| wire::emit_udp(stations, &flow, payload, out));
    }

    /// Answers a question for a client's MAC, and nothing else. True when it was one.
    pub(crate) fn answer_neighbour(&mut self, parsed: &Parsed, frame: P::Frame, frames: &mut Frames) -> bool {
        match parsed.packet {
            Packet::Arp(packet) if packet.operation == arp::Operation::Request => {
                let Some(client) = self.population.find(packet.target_ip.into()) else { return false };
                let own = self.population.mac(client);
                let stations = Stations { src: own, dst: packet.sender_mac };
                let reply = packet.reply(own);
                self.put(frame, wire::ARP_LEN, frames, |out| wire::emit_arp(stations, &reply, out));
            }
            Packet::Icmpv6 { src, message: icmpv6::Message::NeighbourSolicitation(asked), .. } => {
                let Some(client) = self.population.find(asked.target.into()) else { return false };
                let own = self.population.mac(client);
                let (dst, advertisement) = asked.answer(src, own);
                let group = dst == ndp::ALL_NODES;
                let mac = if group { dataplane::wire::ipv6::multicast_mac(dst) } else { parsed.link.src };
                let stations = Stations { src: own, dst: mac };
                let len = wire::advertisement_len(&advertisement);
                self.put(frame, len, frames, |out| {
                    wire::emit_advertisement(stations, (asked.target, dst), &advertisement, out)
                });
            }
            _ => return false,
        }
        frames.neighbour_answers += 1;
        true
    }

    /// Asks for the server's MAC, in the first client's name, until somebody answers or `within` is over. `now` tells the time,
    /// `ended` whether to give up.
    pub(crate) fn resolve(
        &mut self,
        within: Duration,
        now: impl Fn() -> Instant,
        ended: impl Fn() -> bool,
    ) -> Option<MacAddr> {
        let mut frames = Frames::default();
        let (begun, mut ask_at) = (now(), now());
        loop {
            let time = now();
            if time - begun > within || ended() {
                return None;
            }
            if time >= ask_at {
                ask_at = time + ASK_AGAIN;
                self.ask(&mut frames);
            }
            let mut burst = Burst::new();
            self.receive(&mut burst);
            for frame in burst {
                let Some(parsed) = self.read(&frame) else { continue };
                if let Some(mac) = self.told(&parsed) {
                    return Some(mac);
                }
                self.answer_neighbour(&parsed, frame, &mut frames);
            }
            self.flush(&mut frames);
        }
    }

    fn ask(&mut self, frames: &mut Frames) {
        let Some(frame) = self.port.allocate() else { return };
        let first = ClientId::new(0);
        let (mac, addresses) = (self.population.mac(first), self.population.addresses(first));
        let len = wire::question_len(&addresses);
        self.put(frame, len, frames, |out| wire::emit_question(mac, &addresses, out));
    }

    /// The server's MAC, when the packet tells it.
    fn told(&self, parsed: &Parsed) -> Option<MacAddr> {
        let server = self.population.server();
        let mac = match parsed.packet {
            Packet::Arp(packet) if server == packet.sender_ip => packet.sender_mac,
            Packet::Icmpv6 { message: icmpv6::Message::NeighbourAdvertisement(told), .. } if server == told.target => {
                told.target_mac.unwrap_or(parsed.link.src)
            }
            _ => return None,
        };
        mac.is_unicast().then_some(mac)
    }

    /// Puts a frame of `len` bytes in line.
    #[inline]
    fn put(
        &mut self,
        mut frame: P::Frame,
        len: usize,
        frames: &mut Frames,
        write: impl FnOnce(&mut [u8]) -> Result<(), BufferTooShort>,
    ) {
        // Every buffer of the pool has room for the longest that is written here, a request.
        let written = frame.resize(len).is_ok() && write(frame.bytes_mut()).is_ok();
        if !written || self.backlog.try_push(frame).is_err() {
            frames.ring_full += 1;
        }
    }
}
