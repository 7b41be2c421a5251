//! The client's side of one TFTP transfer: packets in, packets out, every byte compared. Has no socket and no clock.
//!
//! RFC 1350 with the options of RFC 2347, 2348 (blksize), 2349 (tsize) and 7440 (windowsize).

use thiserror::Error;

const RRQ: u8 = 1;
const DATA: u8 = 3;
const ACK: u8 = 4;
const ERROR: u8 = 5;
const OACK: u8 = 6;

/// RFC 1350: the block size without the option.
const PLAIN_BLKSIZE: usize = 512;

/// A file as it must arrive.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Its name below the root.
    pub(super) name: String,
    /// Its content.
    pub(super) bytes: Vec<u8>,
}

/// The options of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// RFC 2348.
    pub(super) blksize: Option<u16>,
    /// RFC 2349, asked for with 0.
    pub(super) tsize: bool,
    /// RFC 7440.
    pub(super) windowsize: Option<u16>,
}

impl Wish {
    const fn is_plain(self) -> bool {
        self.blksize.is_none() && !self.tsize && self.windowsize.is_none()
    }
}

/// What a packet led to. A packet to send is in the buffer that was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to send.
    Wait,
    /// A first block of something else: a late repeat for an earlier transfer from this port. The transfer still waits for its
    /// own, so that a server which only sends such never completes one.
    Stray,
    /// Send it to where the packet came from.
    Send,
    /// That was all of the file; the last ACK is to be sent.
    Done,
    /// The transfer is over.
    Failed(Mistake),
}

/// What a server did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Mistake {
    /// It sent ERROR.
    #[error("refused with error {code}: {text}")]
    Refused {
        /// TFTP error code.
        code: u16,
        /// Its text, cut.
        text: String,
    },
    /// The bytes of a block are not the file's.
    #[error("block {0} has other bytes than the file")]
    Content(usize),
    /// A block is shorter or longer than it must be.
    #[error("block {block} has {got} bytes instead of {wanted}")]
    Length {
        /// Counted from 1.
        block: usize,
        /// Its bytes.
        got: usize,
        /// Those it should have.
        wanted: usize,
    },
    /// An OACK grants what was not asked for, or more than that.
    #[error("OACK with {0}, which was not asked for like this")]
    Grant(String),
    /// Gave up waiting.
    #[error("no answer after {0} tries")]
    Silence(u8),
}

/// One transfer.
#[derive(Debug)]
pub(super) struct Transfer<'a> {
    file: &'a File,
    wish: Wish,
    /// The server's port, once it has answered.
    tid: Option<u16>,
    blksize: usize,
    window: u16,
    /// Blocks received in order.
    blocks: usize,
    /// Of those, behind the last ACK.
    unacknowledged: u16,
    /// A block out of order has been answered; the next one is not, until there is progress (RFC 1123 section 4.2.3.1).
    gap_told: bool,
}

impl<'a> Transfer<'a> {
    /// A transfer that has not been asked for yet: send [`request`](Self::again) to port 69.
    pub(super) const fn new(file: &'a File, wish: Wish) -> Self {
        Self { file, wish, tid: None, blksize: PLAIN_BLKSIZE, window: 1, blocks: 0, unacknowledged: 0, gap_told: false }
    }

    /// The server's port, once it has answered.
    pub(super) const fn tid(&self) -> Option<u16> {
        self.tid
    }

    /// Blocks received in order.
    pub(super) const fn blocks(&self) -> u64 {
        self.blocks as u64
    }

    /// The window that was granted: 1 without the option.
    pub(super) const fn window(&self) -> u16 {
        self.window
    }

    /// Bytes received in order.
    pub(super) fn received_bytes(&self) -> u64 {
        (self.blocks * self.blksize).min(self.file.bytes.len()) as u64
    }

    /// What to send first, and after a timeout: the request while nothing has come, else the last ACK.
    pub(super) fn again(&mut self, out: &mut Vec<u8>) {
        self.gap_told = false;
        if self.tid.is_some() {
            return self.acknowledge(out);
        }
        out.clear();
        out.extend([0, RRQ]);
        let mut word = |text: &str| {
            out.extend(text.as_bytes());
            out.push(0);
        };
        word(&self.file.name);
        word("octet");
        if let Some(blksize) = self.wish.blksize {
            word("blksize");
            word(&blksize.to_string());
        }
        if self.wish.tsize {
            word("tsize");
            word("0");
        }
        if let Some(windowsize) = self.wish.windowsize {
            word("windowsize");
            word(&windowsize.to_string());
        }
    }

    /// Takes a packet from the server's port `from`.
    pub(super) fn receive(&mut self, from: u16, packet: &[u8], out: &mut Vec<u8>) -> Step {
        // RFC 1350 section 4: a packet from another TID is not of this transfer.
        if self.tid.is_some_and(|tid| tid != from) {
            return Step::Wait;
        }
        match *packet {
            [0, DATA, high, low, ref payload @ ..] => self.data(from, u16::from_be_bytes([high, low]), payload, out),
            [0, OACK, ref options @ ..] => self.grants(from, options, out),
            [0, ERROR, high, low, ref text @ ..] => {
                let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(&text[..text.len().min(80)]).escape_debug().to_string();
                Step::Failed(Mistake::Refused { code: u16::from_be_bytes([high, low]), text })
            }
            _ => Step::Wait,
        }
    }

    fn data(&mut self, from: u16, number: u16, payload: &[u8], out: &mut Vec<u8>) -> Step {
        if number != block_number(self.blocks + 1) {
            if self.tid.is_none() || self.gap_told {
                return Step::Wait;
            }
            // RFC 7440 section 4: what came in order is acknowledged, and the server goes on behind it.
            self.gap_told = true;
            self.acknowledge(out);
            return Step::Send;
        }
        self.tid = Some(from);
        let begin = self.blocks * self.blksize;
        let rest = self.file.bytes.get(begin..).unwrap_or_default();
        let wanted = &rest[..rest.len().min(self.blksize)];
        if payload != wanted {
            let block = self.blocks + 1;
            if self.blocks == 0 {
                *self = Self::new(self.file, self.wish);
                return Step::Stray;
            }
            return Step::Failed(match payload.len() == wanted.len() {
                true => Mistake::Content(block),
                false => Mistake::Length { block, got: payload.len(), wanted: wanted.len() },
            });
        }
        self.blocks += 1;
        self.unacknowledged += 1;
        self.gap_told = false;
        let last = payload.len() < self.blksize;
        if last || self.unacknowledged >= self.window {
            self.acknowledge(out);
            return if last { Step::Done } else { Step::Send };
        }
        Step::Wait
    }

    /// RFC 2347: an OACK answers the request; ACK 0 answers it.
    fn grants(&mut self, from: u16, options: &[u8], out: &mut Vec<u8>) -> Step {
        if self.blocks > 0 || self.wish.is_plain() {
            return Step::Wait;
        }
        let mut words = options.split(|&byte| byte == 0);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if let Err(mistake) = self.grant(name, value) {
                return Step::Failed(mistake);
            }
        }
        self.tid = Some(from);
        self.acknowledge(out);
        Step::Send
    }

    fn grant(&mut self, name: &[u8], value: &[u8]) -> Result<(), Mistake> {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        let mistake = || Mistake::Grant(format!("{name} {value}").escape_debug().to_string());
        let number: u64 = value.parse().map_err(|_| mistake())?;
        let at_most = |least: u16, asked: Option<u16>| {
            let granted = u16::try_from(number).ok().filter(|&granted| granted >= least);
            granted.filter(|&granted| asked.is_some_and(|asked| granted <= asked)).ok_or_else(mistake)
        };
        // RFC 2347: option names are not case sensitive.
        match name.to_ascii_lowercase().as_str() {
            "blksize" => self.blksize = at_most(8, self.wish.blksize)?.into(),
            "windowsize" => self.window = at_most(1, self.wish.windowsize)?,
            "tsize" if self.wish.tsize && number == self.file.bytes.len() as u64 => {}
            _ => return Err(mistake()),
        }
        Ok(())
    }

    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        self.unacknowledged = 0;
        let [high, low] = block_number(self.blocks).to_be_bytes();
        out.clear();
        out.extend([0, ACK, high, low]);
    }
}

/// Block numbers roll over to 0: of the position, the low 16 bits are sent.
const fn block_number(position: usize) -> u16 {
    let [low, high, ..] = position.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// An ERROR 0 that ends a transfer which nobody waits for any more.
pub(super) const FAREWELL: [u8; 8] = [0, ERROR, 0, 0, b'e', b'n', b'd', 0];

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: usize) -> File {
        File { name: "f".to_owned(), bytes: (0..=250).cycle().step_by(7).take(len).collect() }
    }

    fn data(number: u16, payload: &[u8]) -> Vec<u8> {
        [&[0, DATA], &number.to_be_bytes()[..], payload].concat()
    }

    fn ack(number: u16) -> Vec<u8> {
        [&[0, ACK], &number.to_be_bytes()[..]].concat()
    }

    const WINDOWS: Wish = Wish { blksize: Some(100), tsize: false, windowsize: Some(4) };

    /// A transfer with windows of four blocks of 100 bytes, granted.
    fn windows(file: &File) -> Transfer<'_> {
        let mut transfer = Transfer::new(file, WINDOWS);
        let mut out = Vec::new();
        assert_eq!(transfer.receive(9, b"\0\x06blksize\x00100\0windowsize\x004\0", &mut out), Step::Send);
        assert_eq!(out, ack(0));
        transfer
    }

    #[test]
    fn the_request_names_file_mode_and_options() {
        let file = file(1);
        let mut out = Vec::new();
        Transfer::new(&file, Wish::default()).again(&mut out);
        assert_eq!(out, b"\0\x01f\0octet\0");
        let wish = Wish { blksize: Some(1428), tsize: true, windowsize: Some(16) };
        Transfer::new(&file, wish).again(&mut out);
        assert_eq!(out, b"\0\x01f\0octet\0blksize\x001428\0tsize\x000\0windowsize\x0016\0");
    }

    #[test]
    fn rfc1350_blocks_are_acknowledged_one_by_one_and_a_short_one_is_the_last() {
        let file = file(1_024);
        let mut transfer = Transfer::new(&file, Wish::default());
        let mut out = Vec::new();
        assert_eq!(transfer.receive(9, &data(1, &file.bytes[..512]), &mut out), Step::Send);
        assert_eq!(out, ack(1));
        assert_eq!(transfer.receive(8, &data(2, &file.bytes[512..]), &mut out), Step::Wait, "another TID");
        assert_eq!(transfer.receive(9, &data(2, &file.bytes[512..]), &mut out), Step::Send);
        assert_eq!(
            transfer.receive(9, &data(3, &[]), &mut out),
            Step::Done,
            "a multiple of 512 ends with an empty block"
        );
        assert_eq!(out, ack(3));
        assert_eq!((transfer.blocks(), transfer.received_bytes()), (3, 1_024));
    }

    #[test]
    fn a_wrong_byte_and_a_wrong_length_are_noticed() {
        let file = file(1_100);
        let mut out = Vec::new();
        let second = |payload: &[u8], out: &mut Vec<u8>| {
            let mut transfer = Transfer::new(&file, Wish::default());
            assert_eq!(transfer.receive(9, &data(1, &file.bytes[..512]), out), Step::Send);
            transfer.receive(9, &data(2, payload), out)
        };
        let mut wrong = file.bytes[512..1_024].to_vec();
        wrong[511] ^= 1;
        assert_eq!(second(&wrong, &mut out), Step::Failed(Mistake::Content(2)));
        let short = Mistake::Length { block: 2, got: 511, wanted: 512 };
        assert_eq!(second(&file.bytes[512..1_023], &mut out), Step::Failed(short));
    }

    #[test]
    fn a_late_first_block_of_an_earlier_transfer_is_not_taken() {
        let file = file(150);
        let mut out = Vec::new();
        let mut transfer = windows(&file);
        for wrong in [vec![0; 100], vec![0; 99], vec![]] {
            assert_eq!(transfer.receive(9, &data(1, &wrong), &mut out), Step::Stray);
            assert_eq!((transfer.tid(), transfer.blocks(), transfer.window()), (None, 0, 1), "as before the answer");
        }
        assert_eq!(transfer.receive(7, b"\0\x06blksize\x00100\0windowsize\x004\0", &mut out), Step::Send);
        assert_eq!(transfer.receive(7, &data(1, &file.bytes[..100]), &mut out), Step::Wait);
        assert_eq!(transfer.receive(7, &data(2, &file.bytes[100..]), &mut out), Step::Done);
    }

    #[test]
    fn rfc7440_a_window_has_one_ack() {
        let file = file(650);
        let mut transfer = windows(&file);
        let mut out = Vec::new();
        let mut steps = Vec::new();
        for (number, block) in (1..).zip(file.bytes.chunks(100)) {
            steps.push(transfer.receive(9, &data(number, block), &mut out));
        }
        use Step::{Done, Send, Wait};
        assert_eq!(steps, [Wait, Wait, Wait, Send, Wait, Wait, Done]);
        assert_eq!(out, ack(7));
    }

    #[test]
    fn a_gap_is_told_once_and_the_transfer_goes_on_behind_it() {
        let file = file(950);
        let blocks: Vec<&[u8]> = file.bytes.chunks(100).collect();
        let mut transfer = windows(&file);
        let mut out = Vec::new();
        assert_eq!(transfer.receive(9, &data(1, blocks[0]), &mut out), Step::Wait);
        assert_eq!(transfer.receive(9, &data(3, blocks[2]), &mut out), Step::Send);
        assert_eq!(out, ack(1));
        assert_eq!(transfer.receive(9, &data(4, blocks[3]), &mut out), Step::Wait, "told already");
        for (number, step) in [(2, Step::Wait), (3, Step::Wait), (4, Step::Wait), (5, Step::Send)] {
            assert_eq!(transfer.receive(9, &data(number, blocks[usize::from(number) - 1]), &mut out), step);
        }
        assert_eq!(out, ack(5), "the window begins anew behind the ACK");
    }

    #[test]
    fn a_repeated_block_is_acknowledged_again_but_not_multiplied() {
        let file = file(2_000);
        let mut transfer = Transfer::new(&file, Wish::default());
        let mut out = Vec::new();
        let first = data(1, &file.bytes[..512]);
        assert_eq!(transfer.receive(9, &first, &mut out), Step::Send);
        assert_eq!(transfer.receive(9, &first, &mut out), Step::Send);
        assert_eq!(out, ack(1));
        assert_eq!(transfer.receive(9, &first, &mut out), Step::Wait);
        out.clear();
        transfer.again(&mut out);
        assert_eq!(out, ack(1), "the timer repeats it");
    }

    #[test]
    fn a_server_may_ignore_the_options() {
        let file = file(600);
        let mut transfer = Transfer::new(&file, WINDOWS);
        let mut out = Vec::new();
        assert_eq!(transfer.receive(9, &data(1, &file.bytes[..512]), &mut out), Step::Send);
        assert_eq!(transfer.window(), 1);
        assert_eq!(transfer.receive(9, &data(2, &file.bytes[512..]), &mut out), Step::Done);
    }

    #[test]
    fn an_oack_may_grant_only_what_was_asked_for() {
        let file = file(600);
        let wish = Wish { blksize: Some(512), tsize: true, windowsize: None };
        let mut out = Vec::new();
        for bad in ["blksize\x001024\0", "blksize\x007\0", "windowsize\x001\0", "tsize\x00599\0", "blksize\0x\0"] {
            let packet = [b"\0\x06", bad.as_bytes()].concat();
            let step = Transfer::new(&file, wish).receive(9, &packet, &mut out);
            assert!(matches!(step, Step::Failed(Mistake::Grant(_))), "{bad:?}: {step:?}");
        }
        let mut transfer = Transfer::new(&file, wish);
        assert_eq!(transfer.receive(9, b"\0\x06BLKSIZE\x00300\0tsize\x00600\0", &mut out), Step::Send);
        assert_eq!(transfer.receive(9, &data(1, &file.bytes[..300]), &mut out), Step::Send, "300 were granted");
    }

    #[test]
    fn block_numbers_roll_over() {
        let file = file(100 * 65_600 + 5);
        let mut transfer = windows(&file);
        let mut out = Vec::new();
        let mut last = Step::Wait;
        for (number, block) in (1_usize..).zip(file.bytes.chunks(100)) {
            assert!(!matches!(last, Step::Done | Step::Failed(_)), "{last:?} before block {number}");
            last = transfer.receive(9, &data(block_number(number), block), &mut out);
        }
        assert_eq!(last, Step::Done);
        assert_eq!(transfer.received_bytes(), file.bytes.len() as u64);
    }

    #[test]
    fn an_error_ends_it_and_its_text_is_harmless() {
        let file = file(1);
        let mut out = Vec::new();
        let step = Transfer::new(&file, Wish::default()).receive(9, b"\0\x05\0\x01no\x1b[2J\0rest", &mut out);
        let Step::Failed(Mistake::Refused { code: 1, text }) = step else { panic!("{step:?}") };
        assert_eq!(text, "no\\u{1b}[2J");
    }

    #[test]
    fn junk_and_other_opcodes_change_nothing() {
        let file = file(1);
        let mut transfer = Transfer::new(&file, Wish::default());
        let mut out = Vec::new();
        for junk in
            [&b""[..], b"\0", b"\0\x03\0", b"\0\x04\0\x01", b"\x01\x03\0\x01x", b"\0\x03\0\x02x", b"\0\x06tsize\x001\0"]
        {
            assert_eq!(transfer.receive(9, junk, &mut out), Step::Wait, "{junk:?}");
        }
        assert_eq!(transfer.tid(), None);
    }
}
