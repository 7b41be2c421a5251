//! The clients: up to a million transfers that acknowledge in random order, one burst at a time. Keeps twelve bytes of state per
//! client, writes its frames itself, and checks what comes back: numbers always, every byte when told to.

use super::content::{self, Layout};
use super::verify::{self, Endpoint, FRAME_MIN, HEADERS, Mismatch};
use core::net::Ipv4Addr;
use dataplane::dpdk::{Mbuf, QueuePair};
use dataplane::port::{BURST, Backlog, Burst, Frame, Port};
use dataplane::random::{Random, Seed};
use dataplane::wire::Sum;
use thiserror::Error;

/// The server.
pub(crate) const SERVER: Endpoint = Endpoint { mac: [2, 0, 0, 0, 0, 1], ip: Ipv4Addr::new(10, 0, 0, 1), port: 69 };

/// Bits of the network that all are in.
pub(crate) const PREFIX_LEN: u8 = 8;

/// All clients are behind one router.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Address of the first clients.
const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);

/// Clients of one address, with neighbouring ports.
const CLIENTS_PER_ADDRESS: u32 = 16;

/// Their first port.
const FIRST_PORT: u16 = 2_048;

/// How often a burst is offered to a full ring.
const SENDS_MAX: u32 = 10_000_000;

/// Clients that send at a time.
pub(crate) type Batch = arrayvec::ArrayVec<u32, BURST>;

/// Why the generator gives up.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// The pool is empty or a ring full, which the sizes rule out.
    #[error("the generator could not send a burst of {BURST} frames")]
    CannotSend,
    /// A reply is not what it must be.
    #[error("wrong reply to client {client}: {mismatch}")]
    WrongReply {
        /// Number of the client.
        client: u32,
        /// What is wrong.
        mismatch: Mismatch,
    },
    /// A frame for nobody.
    #[error("a frame came back that is for no client")]
    Stray,
    /// Replies are missing.
    #[error("{rung}: {found} of {expected} replies came back after {polls} polls{counted}")]
    Missing {
        /// Whose.
        rung: &'static str,
        /// Replies that came.
        found: u64,
        /// Replies that are due.
        expected: u64,
        /// How often it was polled.
        polls: u32,
        /// What the rung counted.
        counted: String,
    },
}

/// One transfer, as its client sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    file: u32,
    /// Blocks received, all of them full.
    received: u32,
    tid: u16,
}

/// How transfers are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) blksize: u16,
    pub(crate) windowsize: u16,
    pub(crate) layout: Layout,
    /// Ask for the size too, as boot ROMs do; the answer is an OACK.
    pub(crate) tsize: bool,
}

impl Shape {
    /// Bytes of a full DATA frame.
    pub(crate) fn data_frame_len(&self) -> usize {
        HEADERS + 4 + usize::from(self.blksize)
    }

    fn file_blocks(&self) -> u64 {
        self.layout.file_bytes / u64::from(self.blksize)
    }
}

/// What a rung sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replies<'a> {
    /// Our own frames, both ends exchanged.
    Returned,
    /// DATA packets with this content.
    Constant(&'a [u8]),
    /// Files.
    Files,
}

/// All clients.
pub(crate) struct Generator {
    clients: Vec<Client>,
    order: Vec<u32>,
    next: usize,
    random: Random,
    shape: Shape,
    template: [u8; FRAME_MIN],
    /// Of the template's IPv4 header.
    template_sum: Sum,
    burst: Burst<Mbuf>,
    backlog: Backlog<Mbuf>,
    content: Vec<u8>,
    /// Check every byte of every reply.
    pub(crate) verify: bool,
    /// Replies whose bytes were checked.
    pub(crate) verified: u64,
    /// DATA packets that had come before.
    pub(crate) again: u64,
    /// Transfers that ended and were begun anew.
    pub(crate) reopened: u64,
}

impl Generator {
    /// So many clients, none of which has asked for anything.
    pub(crate) fn new(clients: u32, shape: Shape) -> Self {
        let mut random = Random::new(Seed([0x6E; 16]), 0);
        let files = shape.layout.files;
        let mut order: Vec<u32> = (0..clients).collect();
        // Fisher-Yates.
        for last in (1..order.len()).rev() {
            let other = random.below(u32::try_from(last + 1).unwrap_or(u32::MAX));
            order.swap(last, other as usize);
        }
        // Neighbours in the table read files that are not neighbours in memory.
        let clients = order.iter().map(|&other| Client { file: other % files, ..Client::default() }).collect();
        order.reverse();
        Self {
            clients,
            order,
            next: 0,
            random,
            shape,
            template: template(),
            template_sum: Sum::of(&template()[14..34]),
            burst: Burst::new(),
            backlog: Backlog::new(),
            content: vec![0; usize::from(shape.blksize)],
            verify: false,
            verified: 0,
            again: 0,
            reopened: 0,
        }
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> u32 {
        u32::try_from(self.clients.len()).unwrap_or(u32::MAX)
    }

    /// The next burst of clients, in random order; all come up before any comes up again.
    pub(crate) fn next_batch(&mut self) -> Batch {
        self.next_clients(BURST)
    }

    /// The same, at most `count` of them and at most a burst.
    #[inline]
    pub(crate) fn next_clients(&mut self, count: usize) -> Batch {
        let mut batch = Batch::new();
        while batch.len() < count.min(BURST).min(self.order.len()) {
            batch.push(self.order[self.next]);
            self.next = if self.next + 1 == self.order.len() { 0 } else { self.next + 1 };
        }
        batch
    }

    /// Those of a batch whose file has no whole window left.
    pub(crate) fn exhausted(&self, batch: &Batch) -> Batch {
        let left =
            |client: u32| self.shape.file_blocks().saturating_sub(u64::from(self.clients[client as usize].received));
        batch.iter().copied().filter(|&client| left(client) < u64::from(self.shape.windowsize)).collect()
    }

    /// Sends one ACK of what each of the clients has, in frames of `frame_len` bytes.
    #[inline]
    pub(crate) fn send_acks(&mut self, port: &mut QueuePair, batch: &[u32], frame_len: usize) -> Result<(), LoadError> {
        for &number in batch {
            let client = self.clients[number as usize];
            let [high, low] = low_bits(client.received).to_be_bytes();
            self.queue(port, number, client.tid, &[0, 4, high, low], frame_len)?;
        }
        self.flush(port)
    }

    /// Sends the clients' read requests; each begins at the begin of its file.
    pub(crate) fn send_requests(&mut self, port: &mut QueuePair, batch: &[u32]) -> Result<(), LoadError> {
        for &number in batch {
            let client = &mut self.clients[number as usize];
            client.received = 0;
            let request = request(&self.shape, client.file);
            self.queue(port, number, SERVER.port, &request, FRAME_MIN)?;
        }
        self.flush(port)
    }

    /// Ends the clients' transfers by an ERROR, which is not answered; each will read another file.
    pub(crate) fn send_aborts(&mut self, port: &mut QueuePair, batch: &[u32]) -> Result<(), LoadError> {
        for &number in batch {
            self.reopened += 1;
            let client = &mut self.clients[number as usize];
            client.file = self.random.below(self.shape.layout.files);
            let tid = client.tid;
            self.queue(port, number, tid, b"\0\x05\0\0enough\0", FRAME_MIN)?;
        }
        self.flush(port)
    }

    /// Takes what came back in answer to requests (OACK or DATA 1); returns how many replies that were.
    pub(crate) fn collect_first(&mut self, port: &mut QueuePair) -> Result<u64, LoadError> {
        let mut count = 0;
        while port.receive(&mut self.burst) > 0 {
            for frame in core::mem::take(&mut self.burst) {
                let bytes = frame.bytes();
                let number = self.addressee(bytes).ok_or(LoadError::Stray)?;
                let tid = u16::from_be_bytes([bytes[34], bytes[35]]);
                match bytes[HEADERS..HEADERS + 4] {
                    [0, 3, 0, 1] => {
                        self.clients[number as usize].tid = tid;
                        self.take_block(number, bytes)?;
                        count += 1;
                    }
                    [0, 3, ..] => self.again += 1,
                    [0, 6, ..] => {
                        self.clients[number as usize].tid = tid;
                        count += 1;
                    }
                    _ => return Err(LoadError::Stray),
                }
            }
        }
        Ok(count)
    }

    /// Takes what came back in answer to ACKs; returns how many new replies that were.
    #[inline]
    pub(crate) fn collect(&mut self, port: &mut QueuePair, replies: Replies<'_>) -> Result<u64, LoadError> {
        let mut count = 0;
        while port.receive(&mut self.burst) > 0 {
            if replies != Replies::Files && !self.verify {
                count += self.burst.len() as u64;
                self.burst.clear();
                continue;
            }
            for frame in core::mem::take(&mut self.burst) {
                count += u64::from(self.take_frame(&frame, replies)?.is_some());
            }
        }
        Ok(count)
    }

    /// Takes one burst of what came back; leaves in `batch` the clients that have a new reply, whose next ACK is due.
    #[inline]
    pub(crate) fn collect_batch(
        &mut self,
        port: &mut QueuePair,
        replies: Replies<'_>,
        batch: &mut Batch,
    ) -> Result<(), LoadError> {
        batch.clear();
        port.receive(&mut self.burst);
        for frame in core::mem::take(&mut self.burst) {
            if let Some(number) = self.take_frame(&frame, replies)? {
                batch.push(number);
            }
        }
        Ok(())
    }

    /// The client that a frame has something new for. Payload that comes by reference is read only to be verified.
    #[inline]
    fn take_frame(&mut self, frame: &Mbuf, replies: Replies<'_>) -> Result<Option<u32>, LoadError> {
        let number = self.addressee(frame.bytes()).ok_or(LoadError::Stray)?;
        let fresh = if self.verify {
            let whole: Vec<u8> = frame.segments().flatten().copied().collect();
            self.take_reply(number, &whole, replies)?
        } else {
            self.take_reply(number, frame.bytes(), replies)?
        };
        Ok(fresh.then_some(number))
    }

    #[inline]
    fn take_reply(&mut self, number: u32, bytes: &[u8], replies: Replies<'_>) -> Result<bool, LoadError> {
        match replies {
            Replies::Files => self.take_block(number, bytes),
            _ if !self.verify => Ok(true),
            Replies::Returned => self.check_returned(number, bytes),
            Replies::Constant(payload) => self.check_constant(number, bytes, payload),
        }
    }

    /// A DATA packet for a client; false when it had come before.
    #[inline]
    fn take_block(&mut self, number: u32, bytes: &[u8]) -> Result<bool, LoadError> {
        let client = &mut self.clients[number as usize];
        let block = low_bits(client.received).wrapping_add(1);
        let found = u16::from_be_bytes([bytes[HEADERS + 2], bytes[HEADERS + 3]]);
        if found != block {
            // Behind what is due: a repeat. Ahead of it: a block is missing.
            if block.wrapping_sub(found) < 1 << 15 {
                self.again += 1;
                return Ok(false);
            }
            let mismatch = Mismatch::Block { found, expected: block };
            return Err(LoadError::WrongReply { client: number, mismatch });
        }
        if self.verify {
            let offset = u64::from(client.received) * u64::from(self.shape.blksize);
            let left = usize::try_from(self.shape.layout.file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
            let len = left.min(usize::from(self.shape.blksize));
            let content = &mut self.content[..len];
            content::fill(client.file, offset, content);
            verify::data(bytes, Endpoint { port: client.tid, ..SERVER }, endpoint(number), block, content)
                .map_err(|mismatch| LoadError::WrongReply { client: number, mismatch })?;
            self.verified += 1;
        }
        client.received += 1;
        Ok(true)
    }

    fn check_returned(&mut self, number: u32, bytes: &[u8]) -> Result<bool, LoadError> {
        let from = Endpoint { port: self.clients[number as usize].tid, ..SERVER };
        // The frame's length is a DATA packet's, its datagram's an ACK's: what is behind is padding.
        verify::datagram(&bytes[..FRAME_MIN], from, endpoint(number), 4)
            .map_err(|mismatch| LoadError::WrongReply { client: number, mismatch })?;
        self.verified += 1;
        Ok(true)
    }

    fn check_constant(&mut self, number: u32, bytes: &[u8], payload: &[u8]) -> Result<bool, LoadError> {
        let client = self.clients[number as usize];
        let found = u16::from_be_bytes([bytes[HEADERS + 2], bytes[HEADERS + 3]]);
        let window = found.wrapping_sub(low_bits(client.received));
        let block = if (1..=self.shape.windowsize).contains(&window) { found } else { low_bits(client.received) };
        verify::data(bytes, Endpoint { port: client.tid, ..SERVER }, endpoint(number), block, payload)
            .map_err(|mismatch| LoadError::WrongReply { client: number, mismatch })?;
        self.verified += 1;
        Ok(true)
    }

    /// The client that a frame is for.
    #[inline]
    fn addressee(&self, bytes: &[u8]) -> Option<u32> {
        let headers = bytes.first_chunk::<{ HEADERS + 4 }>()?;
        let ip = u32::from_be_bytes([headers[30], headers[31], headers[32], headers[33]]);
        let port = u16::from_be_bytes([headers[36], headers[37]]).wrapping_sub(FIRST_PORT);
        let number = ip.wrapping_sub(FIRST_CLIENT.to_bits()).wrapping_mul(CLIENTS_PER_ADDRESS) + u32::from(port);
        (number < self.clients()).then_some(number)
    }

    /// Writes a frame with a TFTP packet from a client and queues it.
    #[inline]
    fn queue(
        &mut self,
        port: &mut QueuePair,
        number: u32,
        dst_port: u16,
        packet: &[u8],
        frame_len: usize,
    ) -> Result<(), LoadError> {
        let mut frame = port.allocate().ok_or(LoadError::CannotSend)?;
        let len = (HEADERS + packet.len()).max(frame_len);
        frame.resize(len).map_err(|_| LoadError::CannotSend)?;
        let from = endpoint(number);
        let udp_len = u16::try_from(8 + packet.len()).map_err(|_| LoadError::CannotSend)?;
        // Sums from the values, not from the bytes just written: those would have to leave the store buffer first.
        let ip_sum = self.template_sum.add_u16(20 + udp_len).add_u32(from.ip.to_bits());
        let udp_sum = Sum::of(packet)
            .add_u32(from.ip.to_bits())
            .add_u32(SERVER.ip.to_bits())
            .add_u16(17)
            .add_u16(udp_len)
            .add_u16(from.port)
            .add_u16(dst_port)
            .add_u16(udp_len);
        // RFC 768: a checksum of zero is sent as all ones.
        let udp_checksum = match udp_sum.finish() {
            0 => u16::MAX,
            checksum => checksum,
        };
        let bytes = frame.bytes_mut();
        bytes[..FRAME_MIN].copy_from_slice(&self.template);
        bytes[16..18].copy_from_slice(&(20 + udp_len).to_be_bytes());
        bytes[24..26].copy_from_slice(&ip_sum.finish().to_be_bytes());
        bytes[26..30].copy_from_slice(&from.ip.octets());
        bytes[34..36].copy_from_slice(&from.port.to_be_bytes());
        bytes[36..38].copy_from_slice(&dst_port.to_be_bytes());
        bytes[38..40].copy_from_slice(&udp_len.to_be_bytes());
        bytes[40..42].copy_from_slice(&udp_checksum.to_be_bytes());
        bytes[HEADERS..HEADERS + packet.len()].copy_from_slice(packet);
        self.backlog.try_push(frame).map_err(|_| LoadError::CannotSend)
    }

    fn flush(&mut self, port: &mut QueuePair) -> Result<(), LoadError> {
        // A ring between processes may be full for a moment.
        for _ in 0..SENDS_MAX {
            port.send(&mut self.backlog);
            if self.backlog.is_empty() {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(LoadError::CannotSend)
    }
}

/// Where a client sits.
fn endpoint(number: u32) -> Endpoint {
    let ip = Ipv4Addr::from_bits(FIRST_CLIENT.to_bits() + number / CLIENTS_PER_ADDRESS);
    let port = FIRST_PORT + low_bits(number % CLIENTS_PER_ADDRESS);
    Endpoint { mac: CLIENT_MAC, ip, port }
}

/// A frame to the server with everything in it that never changes.
fn template() -> [u8; FRAME_MIN] {
    let mut frame = [0; FRAME_MIN];
    frame[..6].copy_from_slice(&SERVER.mac);
    frame[6..12].copy_from_slice(&CLIENT_MAC);
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    // Don't fragment, TTL 64, UDP.
    frame[20..24].copy_from_slice(&[0x40, 0, 64, 17]);
    frame[30..34].copy_from_slice(&SERVER.ip.octets());
    frame
}

/// RFC 1350 §5 and RFC 2347: opcode, name, mode, options.
fn request(shape: &Shape, file: u32) -> Vec<u8> {
    let mut text = format!("\0\x01{}\0octet\0", content::name(file));
    if shape.tsize {
        text.push_str("tsize\x000\0");
    }
    if shape.blksize != 512 {
        text.push_str(&format!("blksize\0{}\0", shape.blksize));
    }
    if shape.windowsize != 1 {
        text.push_str(&format!("windowsize\0{}\0", shape.windowsize));
    }
    text.into_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "block numbers on the wire are modulo 2^16")]
const fn low_bits(number: u32) -> u16 {
    number as u16
}
