//! One client's transfer as a state machine: packets and timeouts in, at most one packet out. Knows no clock, no address and no
//! port driver, keeps no content (it is handed out with its position) and never allocates.
//!
//! Between two steps forward it answers what is out of order at most once and leaves the rest to its timer, so duplicate ACKs
//! never keep a conversation of duplicates alive (RFC 1123 §4.2.3.1).

use dataplane::tftp::packet::{ErrorCode, Packet};

use super::options::{Asked, Terms};

/// ERROR 8 of RFC 2347: the options are not what was asked.
const OPTIONS_REFUSED: u16 = 8;

/// A transfer of one client, from a request to its end and a little beyond: a finished one still answers a repeated last block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// The block that is waited for, from 1; the wire has its low 16 bits.
    next: u64,
    /// What the server said that the file has, in bytes; `u64::MAX` when it did not say.
    size: u64,
    /// The server's transfer ID, once it is known.
    server_port: u16,
    blksize: u16,
    window: u16,
    /// Blocks taken since the last ACK.
    unacknowledged: u16,
    /// Timeouts since the last step forward.
    timeouts: u8,
    state: State,
    /// Something out of order was answered since the last step forward.
    answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// The request is out, nothing has come.
    Requesting,
    /// The OACK was taken, no DATA has come.
    Accepted,
    Receiving,
    /// The last block was taken and acknowledged.
    Finished,
}

/// What to send to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    Nothing,
    /// The request, to the server's well-known port.
    Request,
    /// An ACK to the server's transfer ID.
    Ack(u16),
    /// An ERROR of that code to where the packet came from.
    Error(u16),
}

/// What a packet meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The options were accepted.
    Options,
    /// The next block.
    Block {
        /// Where its bytes stand in the file.
        offset: u64,
        /// Its bytes.
        payload: &'a [u8],
        /// Nothing follows: the transfer is done.
        last: bool,
    },
    /// Had been taken before.
    Duplicate,
    /// Behind a block that is missing.
    Gap,
    /// From another port than the transfer's.
    Stranger,
    /// Not of a running transfer, or not a packet that a server sends.
    Meaningless,
    /// The transfer is over.
    Failed(Failure),
}

/// What happened and what to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    pub(crate) event: Event<'a>,
    pub(crate) reply: Reply,
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer to any of the requests.
    NoAnswer,
    /// The server fell silent in the middle.
    Silence,
    /// The host answered that nobody listens there (ICMP).
    Unreachable,
    /// The server's OACK is not what was asked.
    Options,
    /// A block is longer than agreed.
    BlockTooLong,
    /// The file is not as long as the server said.
    WrongSize,
    /// The server sent an ERROR of this code.
    Server(u16),
}

impl Transfer {
    /// No transfer.
    pub(crate) const IDLE: Self = Self {
        next: 1,
        size: u64::MAX,
        server_port: 0,
        blksize: Terms::PLAIN.blksize,
        window: Terms::PLAIN.window,
        unacknowledged: 0,
        timeouts: 0,
        state: State::Idle,
        answered: false,
    };

    /// A new transfer: send the request.
    pub(crate) fn begin(&mut self) -> Reply {
        *self = Self { state: State::Requesting, ..Self::IDLE };
        Reply::Request
    }

    /// Whether it has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        !matches!(self.state, State::Idle | State::Finished)
    }

    /// The server's transfer ID, once a reply has come.
    pub(crate) fn server_port(&self) -> Option<u16> {
        (!matches!(self.state, State::Idle | State::Requesting)).then_some(self.server_port)
    }

    /// Timeouts since the last step forward.
    pub(crate) fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// Takes a UDP payload that the server's host sent from `port` to this client's.
    #[inline]
    pub(crate) fn receive<'a>(&mut self, asked: &Asked, port: u16, bytes: &'a [u8]) -> Step<'a> {
        let Ok(packet) = Packet::parse(bytes) else { return Step::silent(Event::Meaningless) };
        if self.server_port().is_some_and(|own| own != port) {
            return stranger(&packet);
        }
        match packet {
            Packet::Data { block, payload } => self.data(port, block, payload),
            Packet::OptionAck { body } => self.option_ack(asked, port, body),
            Packet::Error { code, .. } if self.is_running() => self.fail(Failure::Server(code), Reply::Nothing),
            _ => Step::silent(Event::Meaningless),
        }
    }

    /// The timer ran out: what to send again, or why the transfer is over after `tries` timeouts in a row.
    pub(crate) fn time_out(&mut self, tries: u8) -> Result<Reply, Failure> {
        self.timeouts = self.timeouts.saturating_add(1);
        let requesting = self.state == State::Requesting;
        if self.timeouts > tries {
            self.state = State::Idle;
            return Err(if requesting { Failure::NoAnswer } else { Failure::Silence });
        }
        // The timer repeats without condition; what arrives next out of order may be answered again.
        self.answered = false;
        if requesting { Ok(Reply::Request) } else { Ok(self.acknowledge()) }
    }

    /// Ends a running transfer for a reason from outside of the protocol.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Idle;
    }

    fn data<'a>(&mut self, port: u16, block: u16, payload: &'a [u8]) -> Step<'a> {
        match self.state {
            State::Idle => return Step::silent(Event::Meaningless),
            // RFC 1350 §6: the last ACK may be lost, then the last block comes again.
            State::Finished if block == self.last_taken() => {
                return Step { event: Event::Duplicate, reply: Reply::Ack(block) };
            }
            State::Finished => return Step::silent(Event::Duplicate),
            State::Requesting | State::Accepted | State::Receiving => {}
        }
        // RFC 1350 does not say what follows block 65535; 0 does, and 64 bits say which block of that number is meant.
        let ahead = block.wrapping_sub(self.next_on_wire());
        if ahead != 0 {
            return self.out_of_order(ahead);
        }
        if payload.len() > usize::from(self.blksize) {
            return self.fail(Failure::BlockTooLong, Reply::Error(ErrorCode::IllegalOperation as u16));
        }
        self.server_port = port;
        self.state = State::Receiving;
        let offset = (self.next - 1) * u64::from(self.blksize);
        self.next += 1;
        self.unacknowledged += 1;
        self.timeouts = 0;
        self.answered = false;
        // RFC 1350 §6: a block that is not full ends the transfer.
        let last = payload.len() < usize::from(self.blksize);
        if last {
            let reply = self.acknowledge();
            self.state = State::Finished;
            let size = offset + payload.len() as u64;
            if self.size != u64::MAX && self.size != size {
                return Step { event: Event::Failed(Failure::WrongSize), reply };
            }
            return Step { event: Event::Block { offset, payload, last }, reply };
        }
        // RFC 7440 §3: one ACK for each window.
        let reply = if self.unacknowledged >= self.window { self.acknowledge() } else { Reply::Nothing };
        Step { event: Event::Block { offset, payload, last }, reply }
    }

    fn out_of_order(&mut self, ahead: u16) -> Step<'static> {
        if self.state == State::Requesting {
            // Not the begin of anything: the first reply decides about the transfer ID.
            return Step::silent(Event::Meaningless);
        }
        if ahead < 0x8000 {
            // RFC 7440 §4: the receiver tells which block it has last, and the sender goes back to there.
            return Step { event: Event::Gap, reply: self.answer_once() };
        }
        // The end of a window that is acknowledged came again, so that ACK was lost. Within a window the next ACK is on its way.
        let again = ahead == u16::MAX && self.unacknowledged == 0;
        Step { event: Event::Duplicate, reply: if again { self.answer_once() } else { Reply::Nothing } }
    }

    fn option_ack<'a>(&mut self, asked: &Asked, port: u16, body: &[u8]) -> Step<'a> {
        match self.state {
            State::Requesting => {}
            // Our ACK 0 was lost, or our request was answered twice.
            State::Accepted => return Step { event: Event::Duplicate, reply: self.answer_once() },
            State::Receiving | State::Finished => return Step::silent(Event::Duplicate),
            State::Idle => return Step::silent(Event::Meaningless),
        }
        let Ok(terms) = asked.accept(body) else {
            return self.fail(Failure::Options, Reply::Error(OPTIONS_REFUSED));
        };
        self.server_port = port;
        self.state = State::Accepted;
        self.timeouts = 0;
        self.blksize = terms.blksize;
        self.window = terms.window;
        self.size = terms.size.unwrap_or(u64::MAX);
        // RFC 2347: ACK 0 accepts the options.
        Step { event: Event::Options, reply: self.acknowledge() }
    }

    fn fail<'a>(&mut self, failure: Failure, reply: Reply) -> Step<'a> {
        self.state = State::Idle;
        Step { event: Event::Failed(failure), reply }
    }

    fn answer_once(&mut self) -> Reply {
        if core::mem::replace(&mut self.answered, true) { Reply::Nothing } else { self.acknowledge() }
    }

    /// An ACK of everything so far.
    fn acknowledge(&mut self) -> Reply {
        self.unacknowledged = 0;
        Reply::Ack(self.last_taken())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the wire has the low 16 bits")]
    fn next_on_wire(&self) -> u16 {
        self.next as u16
    }

    fn last_taken(&self) -> u16 {
        self.next_on_wire().wrapping_sub(1)
    }
}

impl Step<'_> {
    fn silent(event: Event<'_>) -> Step<'_> {
        Step { event, reply: Reply::Nothing }
    }
}

/// RFC 1350 §4: ERROR 5 to the other one, and the transfer goes on. An ERROR is never answered.
fn stranger(packet: &Packet<'_>) -> Step<'static> {
    let reply = match packet {
        Packet::Data { .. } | Packet::OptionAck { .. } => Reply::Error(ErrorCode::UnknownTransferId as u16),
        _ => Reply::Nothing,
    };
    Step { event: Event::Stranger, reply }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
