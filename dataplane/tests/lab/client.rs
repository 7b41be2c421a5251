//! A model of TFTP clients: RFC 1350, 2347 and 7440 as a reader of the RFCs would write it, with the habits that real ones have.

use super::frames::{Host, read_datagram};
use dataplane::tftp::Packet;
use std::collections::HashMap;

/// What differs between client stacks.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Acknowledge the last block in order for every block out of order (EDK2), not only for the first of them.
    pub ack_each_stray: bool,
    /// Every packet goes out this many times.
    pub copies: u32,
    /// Microseconds of silence after which the last packet goes out again.
    pub timeout_us: u64,
    /// How often it does that before it gives up.
    pub tries: u32,
}

impl Default for Habits {
    fn default() -> Self {
        Self { ack_each_stray: false, copies: 1, timeout_us: 1_000_000, tries: 30 }
    }
}

/// One download.
pub struct Client {
    host: Host,
    port: u16,
    habits: Habits,
    request: Vec<u8>,
    asked: HashMap<String, u64>,
    tid: Option<u16>,
    blksize: u64,
    window: u64,
    next: u64,
    in_window: u64,
    stray_acked: bool,
    last_sent: Vec<u8>,
    deadline_us: u64,
    tries: u32,
    pub received: Vec<u8>,
    pub tsize: Option<u64>,
    pub outcome: Option<Result<(), String>>,
}

/// The bytes of a read request.
pub fn read_request(name: &str, mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    for part in [name, mode].into_iter().chain(options.iter().flat_map(|(name, value)| [*name, *value])) {
        bytes.extend_from_slice(part.as_bytes());
        bytes.push(0);
    }
    bytes
}

impl Client {
    pub fn new(host: Host, port: u16, name: &str, mode: &str, options: &[(&str, &str)], habits: Habits) -> Self {
        Self {
            host,
            port,
            habits,
            request: read_request(name, mode, options),
            asked: options.iter().map(|(name, value)| ((*name).to_owned(), value.parse().unwrap_or(0))).collect(),
            tid: None,
            blksize: 512,
            window: 1,
            next: 1,
            in_window: 0,
            stray_acked: false,
            last_sent: Vec::new(),
            deadline_us: 0,
            tries: 0,
            received: Vec::new(),
            tsize: None,
            outcome: None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// When the client wants to be woken.
    pub fn deadline_us(&self) -> u64 {
        if self.is_done() { u64::MAX } else { self.deadline_us }
    }

    /// Sends the request.
    pub fn start(&mut self, now_us: u64) -> Vec<Vec<u8>> {
        let frame = self.host.datagram(self.port, 69, &self.request);
        self.send(now_us, frame)
    }

    /// The timer has run out.
    pub fn wake(&mut self, now_us: u64) -> Vec<Vec<u8>> {
        if self.is_done() || now_us < self.deadline_us {
            return Vec::new();
        }
        self.tries += 1;
        if self.tries > self.habits.tries {
            self.outcome = Some(Err(format!("no answer, waiting for block {}", self.next)));
            return Vec::new();
        }
        let frame = self.last_sent.clone();
        self.send(now_us, frame)
    }

    /// A frame arrives.
    pub fn hear(&mut self, now_us: u64, frame: &[u8]) -> Vec<Vec<u8>> {
        let Some((link, flow, payload)) = read_datagram(frame) else { return Vec::new() };
        if link.dst != self.host.mac || flow.dst_port != self.port || flow.addresses.dst() != self.host.ip {
            return Vec::new();
        }
        assert_eq!(link.vlan.map(|tag| tag.0), self.host.vlan, "the reply's VLAN tag");
        assert_eq!(flow.addresses.src(), self.host.server, "the reply's source address");
        if *self.tid.get_or_insert(flow.src_port) != flow.src_port {
            return Vec::new();
        }
        match Packet::parse(payload).expect("a server sends well-formed packets") {
            Packet::Data { block, payload } => self.on_data(now_us, block, payload),
            Packet::OptionAck { body } if self.next == 1 && self.received.is_empty() => {
                self.on_oack(body);
                self.ack(now_us)
            }
            Packet::OptionAck { .. } => Vec::new(),
            Packet::Error { code, message } => {
                self.outcome = Some(Err(format!("error {code}: {}", String::from_utf8_lossy(message))));
                Vec::new()
            }
            other => panic!("a server never sends {other:?}"),
        }
    }

    fn on_data(&mut self, now_us: u64, block: u16, payload: &[u8]) -> Vec<Vec<u8>> {
        assert!(payload.len() as u64 <= self.blksize, "block {block} is too long");
        if block != self.next as u16 {
            // RFC 7440 §4: out of order, so the last block in order is acknowledged, which asks for what follows it.
            if self.stray_acked && !self.habits.ack_each_stray {
                return Vec::new();
            }
            self.stray_acked = true;
            return if self.next == 1 && !self.has_options() { Vec::new() } else { self.ack(now_us) };
        }
        if self.is_done() {
            return self.ack(now_us);
        }
        self.received.extend_from_slice(payload);
        self.next += 1;
        self.in_window += 1;
        self.stray_acked = false;
        self.tries = 0;
        self.deadline_us = now_us + self.habits.timeout_us;
        let last = (payload.len() as u64) < self.blksize;
        if last {
            self.outcome = Some(Ok(()));
        }
        if last || self.in_window == self.window { self.ack(now_us) } else { Vec::new() }
    }

    fn on_oack(&mut self, body: &[u8]) {
        let text = String::from_utf8(body.to_vec()).expect("an OACK is ASCII");
        assert!(text.ends_with('\0'), "the last value is terminated");
        let mut strings = text[..text.len() - 1].split('\0');
        while let Some(name) = strings.next() {
            let value: u64 = strings.next().expect("a value for each option").parse().expect("a decimal value");
            let asked = *self.asked.get(name).unwrap_or_else(|| panic!("{name} was not asked"));
            match name {
                "blksize" => {
                    assert!(value >= 8 && value <= asked);
                    self.blksize = value;
                }
                "windowsize" => {
                    assert!(value >= 1 && value <= asked);
                    self.window = value;
                }
                "timeout" => assert_eq!(value, asked),
                "tsize" => self.tsize = Some(value),
                _ => unreachable!(),
            }
        }
    }

    fn has_options(&self) -> bool {
        !self.asked.is_empty()
    }

    fn ack(&mut self, now_us: u64) -> Vec<Vec<u8>> {
        self.in_window = 0;
        let mut packet = [0; 4];
        Packet::Ack { block: (self.next - 1) as u16 }.emit(&mut packet).unwrap();
        let tid = self.tid.expect("only after a reply");
        let frame = self.host.datagram(self.port, tid, &packet);
        self.send(now_us, frame)
    }

    fn send(&mut self, now_us: u64, frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.deadline_us = now_us + self.habits.timeout_us;
        self.last_sent.clone_from(&frame);
        vec![frame; self.habits.copies as usize]
    }
}
