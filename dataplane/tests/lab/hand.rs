//! Driving a bench by hand: one frame in, its one outcome and its replies out, and a transfer beside it that must not suffer.

use super::Bench;
use super::client::read_request;
use super::frames::{Host, read_datagram};
use dataplane::engine::{Outcome, SessionState, SessionView};
use dataplane::tftp::Packet;
use dataplane::wire::{Flow, ethernet};

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Data {
        block: u16,
        bytes: Vec<u8>,
    },
    /// Option names and values with a space behind each.
    Oack(String),
    Error {
        code: u16,
        text: String,
    },
}

/// A datagram from the server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub link: ethernet::Header,
    pub flow: Flow,
    pub said: Said,
    pub frame: Vec<u8>,
}

impl Reply {
    /// Reads a frame that must be TFTP from a TID. Checksums are checked, and that an ERROR is terminated by its only NUL.
    pub fn read(frame: &[u8]) -> Self {
        let reply = Self::read_from_any_port(frame);
        let port = reply.flow.src_port;
        assert!(port >= 1_024, "RFC 1350 §4: replies come from a TID, not from port {port}");
        reply
    }

    /// The same of a frame from any port.
    pub fn read_from_any_port(frame: &[u8]) -> Self {
        let (link, flow, payload) = read_datagram(frame).expect("the server sent no sound datagram");
        assert_eq!(
            payload.as_ptr_range().end,
            frame.as_ptr_range().end,
            "nothing of the received frame is left behind"
        );
        let said = match Packet::parse(payload).expect("a server sends well-formed packets") {
            Packet::Data { block, payload } => Said::Data { block, bytes: payload.to_vec() },
            Packet::OptionAck { body } => Said::Oack(String::from_utf8(body.to_vec()).unwrap().replace('\0', " ")),
            Packet::Error { code, message } => {
                assert_eq!(payload.len(), 4 + message.len() + 1, "an ERROR ends with its only NUL");
                assert_eq!(payload.last(), Some(&0), "an ERROR ends with NUL");
                Said::Error { code, text: String::from_utf8(message.to_vec()).unwrap() }
            }
            other => panic!("a server never sends {other:?}"),
        };
        Self { link, flow, said, frame: frame.to_vec() }
    }

    pub fn tid(&self) -> u16 {
        self.flow.src_port
    }

    pub fn is_error(&self, wanted: u16) -> bool {
        matches!(self.said, Said::Error { code, .. } if code == wanted)
    }
}

/// The numbers of DATA replies.
pub fn blocks(replies: &[Reply]) -> Vec<u16> {
    replies
        .iter()
        .map(|reply| match reply.said {
            Said::Data { block, .. } => block,
            ref other => panic!("{other:?} is no DATA"),
        })
        .collect()
}

/// A client that does only what it is told.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub host: Host,
    pub port: u16,
}

impl Peer {
    pub fn v4(number: u8, port: u16) -> Self {
        Self { host: Host::v4(number), port }
    }

    pub fn v6(number: u8, port: u16) -> Self {
        Self { host: Host::v6(number), port }
    }

    /// A datagram to one of the server's ports.
    pub fn to(&self, port: u16, payload: &[u8]) -> Vec<u8> {
        self.host.datagram(self.port, port, payload)
    }

    pub fn request(&self, name: &str, options: &[(&str, &str)]) -> Vec<u8> {
        self.to(69, &read_request(name, "octet", options))
    }

    pub fn ack(&self, tid: u16, block: u16) -> Vec<u8> {
        let [high, low] = block.to_be_bytes();
        self.to(tid, &[0, 4, high, low])
    }

    pub fn error(&self, tid: u16, code: u8) -> Vec<u8> {
        self.to(tid, &[0, 5, 0, code, b'n', b'o', 0])
    }

    /// Opens a session; returns its TID and what was said.
    #[track_caller]
    pub fn open(&self, bench: &mut Bench, name: &str, options: &[(&str, &str)]) -> (u16, Said) {
        let mut replies = bench.expect(&self.request(name, options), Outcome::RequestOpened);
        assert_eq!(replies.len(), 1, "one reply to a request: {replies:?}");
        let reply = replies.remove(0);
        (reply.tid(), reply.said)
    }

    /// The server's view of this client's session.
    pub fn session(&self, bench: &Bench) -> Option<SessionView> {
        let engine = bench.lane.engine();
        engine.sessions(bench.now, 0, engine.places()).find(|session| session.client == (self.host.ip, self.port))
    }

    pub fn state(&self, bench: &Bench) -> Option<SessionState> {
        self.session(bench).map(|session| session.state)
    }
}

impl Bench {
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counters.outcome(outcome)
    }

    fn outcomes(&self) -> Vec<u64> {
        Outcome::ALL.iter().map(|&outcome| self.count(outcome)).collect()
    }

    /// Delivers one frame that must have this outcome and no other; returns all frames that were sent.
    #[track_caller]
    pub fn expect_frames(&mut self, frame: &[u8], outcome: Outcome) -> Vec<Vec<u8>> {
        let before = self.outcomes();
        let sent = self.exchange(frame);
        for (each, before) in Outcome::ALL.into_iter().zip(before) {
            let wanted = u64::from(each == outcome);
            assert_eq!(self.count(each) - before, wanted, "outcome {} where {} is due", each.name(), outcome.name());
        }
        self.assert_accounted();
        sent
    }

    /// The same where all that is sent must be TFTP.
    #[track_caller]
    pub fn expect(&mut self, frame: &[u8], outcome: Outcome) -> Vec<Reply> {
        self.expect_frames(frame, outcome).iter().map(|frame| Reply::read(frame)).collect()
    }

    /// The same where nothing may be sent.
    #[track_caller]
    pub fn expect_silence(&mut self, frame: &[u8], outcome: Outcome) {
        let sent = self.expect_frames(frame, outcome);
        assert!(sent.is_empty(), "{} bytes sent where silence is due ({})", sent[0].len(), outcome.name());
    }

    /// The same where one ERROR must be sent.
    #[track_caller]
    pub fn expect_error(&mut self, frame: &[u8], outcome: Outcome, code: u16) -> Reply {
        let mut replies = self.expect(frame, outcome);
        assert!(replies.len() == 1 && replies[0].is_error(code), "ERROR {code} is due, not {replies:?}");
        replies.remove(0)
    }

    /// Lets time pass in steps of `step_ms`; what is sent must be TFTP.
    pub fn pass(&mut self, step_ms: u64, ms: u64) -> Vec<Reply> {
        let mut sent = Vec::new();
        for _ in 0..ms.div_ceil(step_ms) {
            self.now = dataplane::time::Instant::from_micros(self.now.micros() + step_ms * 1_000);
            sent.extend(self.poll().iter().map(|frame| Reply::read(dataplane::port::Frame::bytes(frame))));
        }
        sent
    }
}

/// A transfer in mid-course that must not notice what happens beside it. Time must not pass meanwhile.
pub struct Bystander {
    peer: Peer,
    tid: u16,
    bytes: Vec<u8>,
    next: u16,
}

impl Bystander {
    pub const FILE: &'static str = "bystander";

    /// The file that it reads; a catalogue needs it under [`Bystander::FILE`].
    pub fn content() -> Vec<u8> {
        super::content(512 * 9 + 100, 99)
    }

    pub fn begin(bench: &mut Bench) -> Self {
        let peer = Peer::v4(250, 6_000);
        let (tid, said) = peer.open(bench, Self::FILE, &[]);
        let Said::Data { block: 1, bytes } = said else { panic!("{said:?}") };
        let mut bystander = Self { peer, tid, bytes, next: 2 };
        bystander.step(bench);
        bystander.step(bench);
        bystander
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn tid(&self) -> u16 {
        self.tid
    }

    #[track_caller]
    fn step(&mut self, bench: &mut Bench) {
        let replies = bench.expect(&self.peer.ack(self.tid, self.next - 1), Outcome::AckProgress);
        let [Reply { said: Said::Data { block, bytes }, .. }] = replies.as_slice() else { panic!("{replies:?}") };
        assert_eq!(*block, self.next, "the bystander's next block");
        assert_eq!(replies[0].tid(), self.tid, "the bystander's TID");
        self.bytes.extend_from_slice(bytes);
        self.next += 1;
    }

    /// Reads the rest: the transfer took no harm.
    #[track_caller]
    pub fn finish(mut self, bench: &mut Bench) {
        while self.bytes.len() < Self::content().len() {
            self.step(bench);
        }
        assert!(self.bytes == Self::content(), "the bystander's bytes");
        bench.expect_silence(&self.peer.ack(self.tid, self.next - 1), Outcome::AckFinished);
    }
}

/// A bench with these files, and a bystander in it.
pub fn bench_with_bystander(setup: &super::Setup, files: &[(&str, Vec<u8>)]) -> (Bench, Bystander) {
    let mut all = files.to_vec();
    all.push((Bystander::FILE, Bystander::content()));
    let mut bench = Bench::new(setup, super::catalogue(1, &all));
    let bystander = Bystander::begin(&mut bench);
    (bench, bystander)
}
