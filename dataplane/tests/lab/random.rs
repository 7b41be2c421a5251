//! Random operations on a bench: whom they come from, what they ask for and how they are bent.

use super::hand::Peer;
use proptest::prelude::*;

pub const NAMES: [&str; 8] = ["file", "large", "empty", "text", "missing", "../x", "private", ""];
pub const MODES: [&str; 4] = ["octet", "netascii", "OcTeT", "mail"];
pub const OPTIONS: [&[(&str, &str)]; 8] = [
    &[],
    &[("tsize", "0")],
    &[("blksize", "8"), ("windowsize", "64")],
    &[("blksize", "1468"), ("windowsize", "4")],
    &[("timeout", "1")],
    &[("timeout", "255"), ("windowsize", "3")],
    &[("blksize", "7"), ("windowsize", "junk")],
    &[("windowsize", "65535"), ("tsize", "1"), ("blksize", "65464"), ("timeout", "9")],
];

/// Clients that mean it, and all.
pub const HONEST: usize = 6;
const CLIENTS: usize = 9;

/// Some clients, and some whom nobody should believe.
pub fn client(number: usize) -> Peer {
    match number % CLIENTS {
        0 => Peer::v4(2, 3_000),
        1 => Peer::v4(2, 3_001),
        2 => Peer::v4(3, 3_000),
        3 => Peer::v6(2, 3_000),
        4 => Peer::v6(3, 3_000),
        5 => {
            let mut peer = Peer::v4(4, 3_000);
            peer.host.vlan = Some(0xA00A);
            peer
        }
        6 => {
            let mut peer = Peer::v6(2, 0);
            peer.host.ip = super::ip("::");
            peer
        }
        7 => {
            let mut peer = Peer::v6(2, 3_000);
            peer.host.ip = super::ip("::ffff:10.99.0.2");
            peer
        }
        _ => Peer::v4(5, 69),
    }
}

/// How a payload or a frame is changed before it is sent.
#[derive(Clone, Debug)]
pub enum Bend {
    None,
    Set(usize, u8),
    Cut(usize),
    Grow(Vec<u8>),
}

impl Bend {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Set(_, _) if bytes.is_empty() => {}
            Self::Set(at, value) => {
                let at = at % bytes.len();
                bytes[at] = *value;
            }
            Self::Cut(len) => bytes.truncate(len % (bytes.len() + 1)),
            Self::Grow(tail) => bytes.extend_from_slice(tail),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Request {
        client: usize,
        name: usize,
        mode: usize,
        options: usize,
        payload: Bend,
        frame: Bend,
    },
    /// From `client` to the TID that serves `session`, `ahead` blocks from the last one sent.
    Ack {
        client: usize,
        session: usize,
        ahead: i16,
        payload: Bend,
        frame: Bend,
    },
    Error {
        client: usize,
        session: usize,
        code: u8,
        payload: Bend,
    },
    Junk {
        client: usize,
        port: u16,
        payload: Vec<u8>,
    },
    Unreachable {
        client: usize,
        session: usize,
        bend: Bend,
    },
    Solicit {
        client: usize,
        bend: Bend,
    },
    Again(u8),
    Wait(u64),
    LongWait(u64),
    Install,
    Drain,
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        16 => Just(Bend::None),
        2 => (0_usize..600, any::<u8>()).prop_map(|(at, value)| Bend::Set(at, value)),
        1 => (0_usize..600).prop_map(Bend::Cut),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bend::Grow),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let client = prop_oneof![9 => 0..HONEST, 1 => HONEST..CLIENTS];
    // Mostly to one's own session.
    let session = prop_oneof![4 => Just(usize::MAX), 1 => 0..HONEST];
    prop_oneof![
        8 => (client.clone(), 0..NAMES.len(), 0..MODES.len(), 0..OPTIONS.len(), bend(), bend()).prop_map(
            |(client, name, mode, options, payload, frame)| Op::Request { client, name, mode, options, payload, frame }
        ),
        16 => (
            client.clone(),
            session.clone(),
            prop_oneof![6 => Just(0_i16), 2 => -9_i16..3, 1 => any::<i16>()],
            bend(),
            bend()
        )
            .prop_map(|(client, session, ahead, payload, frame)| Op::Ack { client, session, ahead, payload, frame }),
        3 => (client.clone(), session.clone(), 0_u8..9, bend())
            .prop_map(|(client, session, code, payload)| Op::Error { client, session, code, payload }),
        2 => (client.clone(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(client, port, payload)| Op::Junk { client, port, payload }),
        1 => (client.clone(), session, bend())
            .prop_map(|(client, session, bend)| Op::Unreachable { client, session, bend }),
        1 => (client, bend()).prop_map(|(client, bend)| Op::Solicit { client, bend }),
        2 => (1_u8..20).prop_map(Op::Again),
        6 => (1_u64..200).prop_map(Op::Wait),
        2 => (1_u64..30).prop_map(Op::LongWait),
        1 => Just(Op::Install),
        1 => prop_oneof![9 => Just(Op::Install), 1 => Just(Op::Drain)],
    ]
}
