//! One read transfer as a state machine of half a cache line: which block may go, what an ACK means, when to send again.
//! Sends nothing, reads no clock, and is told the length of the stream when a block is taken.

use super::options::{Granted, OptionKind, OptionOrder};
use super::policy::{Policy, Retransmission};
use crate::time::{Duration, Instant};
use bytemuck::{Pod, Zeroable};

/// The moment, in milliseconds since the origin and modulo 2^32, at which a session wants to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Deadline(u32);

impl Deadline {
    /// The first whole millisecond that is not before `at`.
    #[must_use]
    #[inline]
    pub const fn at(at: Instant) -> Self {
        Self(at.millis_ceil_wrapping())
    }

    /// Milliseconds from `now` until then; zero when it is past.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
    pub fn millis_left(self, now: Instant) -> u32 {
        let left = self.0.wrapping_sub(now.millis() as u32);
        // The upper half of the circle is the past: no timer runs for 24 days.
        if left > u32::MAX / 2 { 0 } else { left }
    }
}

/// What an ACK did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckEffect {
    /// New ground; what follows the acknowledged block goes out at once, and sets the deadline.
    Progress,
    /// The last block has arrived.
    Finished,
    /// A repeat of the last ACK that says "lost": the window starts again now.
    Restart,
    /// A repeat of the last ACK that may say "lost" or may be a copy made by the network: the deadline was pulled in to the
    /// moment when it can only be the former.
    Hold,
    /// A repeat that changes nothing.
    Repeated,
    /// An old block, or one that was never sent.
    Stale,
}

/// What a passed deadline did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineEffect {
    /// It has not passed: look again then.
    NotYet,
    /// The OACK goes out once more.
    OfferAgain,
    /// Unacknowledged blocks go out once more.
    Again,
    /// No answer for as long as the policy allows.
    GiveUp {
        /// Everything had been sent: the client may well have it all.
        all_sent: bool,
    },
    /// A finished session has lingered long enough.
    Over,
}

/// A block that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenBlock {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins in the stream.
    pub offset: u64,
    /// Its length: shorter than a full block, and maybe 0, where the stream ends.
    pub bytes: u16,
    /// It is the last one (RFC 1350 §6: the first that is not full).
    pub last: bool,
    /// It went out before.
    pub repeat: bool,
}

/// Progress of one transfer.
///
/// Blocks are counted from 1 in 32 bit; on the wire modulo 65536 (rollover to 0). How many the stream has is not kept: the last one
/// is known when it is taken.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Transfer {
    /// Every block up to this one has arrived.
    acked: u32,
    /// When the first block behind `acked` (or the OACK) was sent: microseconds modulo 2^32.
    window_started: u32,
    deadline: Deadline,
    /// Smoothed round-trip time in units of 32 µs, at most 2 s; 0: not measured.
    srtt: u16,
    /// Round-trip time variation in units of 16 µs, at most 1 s.
    rttvar: u16,
    /// Wait before sending again, in units of 4 ms.
    rto: u16,
    /// 0: no transfer at all.
    blksize: u16,
    flags: u16,
    /// Options of the OACK, to say it again; above them the low bits of when it began.
    oack_and_began: u16,
    /// When it began: microseconds modulo 2^36 (19 hours), without their low bits.
    began: [u16; 2],
    /// The next block to send is `acked + cursor + 1`.
    cursor: u8,
    /// Blocks behind `acked` that were ever sent, and so may be acknowledged; more than `cursor` after a rewind.
    sent: u8,
    window: u8,
    /// Timed repeats since the last progress.
    tries: u8,
}

/// An OACK is out, ACK 0 is awaited.
const OFFERED: u16 = 1 << 0;
/// The last block was acknowledged.
const FINISHED: u16 = 1 << 1;
/// Stream bytes are netascii.
const NETASCII: u16 = 1 << 2;
/// Something in flight was sent before: its ACK measures nothing (Karn).
const AMBIGUOUS: u16 = 1 << 3;
/// A repeat of the last ACK was already acted upon; cleared by progress.
const REPEAT_SPENT: u16 = 1 << 4;
/// The deadline stands for a repeated ACK, not for silence.
const HELD: u16 = 1 << 5;
/// The client has answered from its address.
const PROVEN: u16 = 1 << 6;
/// The client chose the retransmission interval (RFC 2349).
const FIXED_TIMEOUT: u16 = 1 << 7;
/// Block `acked + sent` is the stream's last.
const LAST_SENT: u16 = 1 << 8;
/// The bits above count timed repeats; they stay at the largest number.
const TIMEOUT: u16 = 1 << 9;

/// Bits of the moment when a transfer began: longer than any may last.
const BEGAN_BITS: u32 = 36;
const BEGAN_LOW_BITS: u32 = 4;
const _: () = assert!(OptionOrder::BITS_USED + BEGAN_LOW_BITS <= u16::BITS);

/// The clock granularity G of RFC 6298: a deadline is kept in whole milliseconds.
const GRANULARITY_US: u32 = 1_000;
const SRTT_UNIT_US: u32 = 32;
const RTTVAR_UNIT_US: u32 = 16;
const RTO_UNIT_MS: u32 = 4;

impl Transfer {
    /// A transfer on these terms; nothing has been sent.
    #[must_use]
    pub fn new(granted: &Granted, netascii: bool, now: Instant, policy: &Policy) -> Self {
        let mut flags = if granted.order.is_empty() { 0 } else { OFFERED };
        if netascii {
            flags |= NETASCII;
        }
        let initial = match granted.timeout {
            Some(seconds) => {
                flags |= FIXED_TIMEOUT;
                Duration::from_secs(u64::from(seconds))
            }
            None => policy.retransmission.initial,
        };
        let began = now.micros();
        Self {
            rto: rto_units(initial),
            blksize: granted.blksize,
            window: granted.window,
            flags,
            oack_and_began: granted.order.to_bits() | low_bits(began) << (u16::BITS - BEGAN_LOW_BITS),
            began: [low_bits(began >> BEGAN_LOW_BITS), low_bits(began >> (BEGAN_LOW_BITS + u16::BITS))],
            ..Self::zeroed()
        }
    }

    /// Whether this is a transfer at all, not a line of zeros.
    #[must_use]
    #[inline]
    pub(crate) const fn is_vacant(&self) -> bool {
        self.blksize == 0
    }

    /// Bytes in a full block.
    #[must_use]
    pub const fn blksize(&self) -> u16 {
        self.blksize
    }

    /// Blocks in a window.
    #[must_use]
    pub const fn window(&self) -> u8 {
        self.window
    }

    /// Whether stream bytes are netascii.
    #[must_use]
    pub const fn is_netascii(&self) -> bool {
        self.has(NETASCII)
    }

    /// Whether an OACK awaits its ACK 0.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        self.has(OFFERED)
    }

    /// Whether the last block was acknowledged.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.has(FINISHED)
    }

    /// Whether the client has acknowledged anything, and so owns its source address.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.has(PROVEN)
    }

    /// Blocks that have arrived.
    #[must_use]
    pub const fn acked(&self) -> u32 {
        self.acked
    }

    /// Smoothed round-trip time in microseconds, once measured.
    #[must_use]
    pub const fn srtt_us(&self) -> Option<u32> {
        if self.srtt == 0 { None } else { Some(self.srtt_us_or_zero()) }
    }

    /// When to call [`on_deadline`](Self::on_deadline). It moves with every block sent.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Seconds between repeats, where the client chose them.
    #[must_use]
    pub fn fixed_timeout(&self) -> Option<u8> {
        self.has(FIXED_TIMEOUT).then(|| u8::try_from(u32::from(self.rto) * RTO_UNIT_MS / 1_000).unwrap_or(u8::MAX))
    }

    /// Blocks of a stream of `len` bytes: the last one is shorter than a full block, and empty where the length is an exact
    /// multiple (RFC 1350 §6).
    #[must_use]
    pub fn total_blocks(len: u64, blksize: u16) -> u64 {
        len / u64::from(blksize.max(1)) + 1
    }

    /// Time since it began, modulo 19 hours.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        let [middle, high] = self.began.map(u64::from);
        let low = u64::from(self.oack_and_began >> (u16::BITS - BEGAN_LOW_BITS));
        let began = low | middle << BEGAN_LOW_BITS | high << (BEGAN_LOW_BITS + u16::BITS);
        Duration::from_micros(now.micros().wrapping_sub(began) & ((1 << BEGAN_BITS) - 1))
    }

    /// Deadlines that passed without an answer, so that something went out again; 127 stands for more, too.
    #[must_use]
    pub const fn timeouts(&self) -> u16 {
        self.flags / TIMEOUT
    }

    /// Whether everything has been sent at least once.
    #[must_use]
    pub const fn is_all_sent(&self) -> bool {
        self.has(LAST_SENT)
    }

    /// Options of the OACK.
    const fn oack(&self) -> OptionOrder {
        OptionOrder::from_bits(self.oack_and_began)
    }

    /// Whether the client was told the size.
    #[must_use]
    pub fn tells_size(&self) -> bool {
        self.oack().contains(OptionKind::Tsize)
    }

    /// Whether a request on these terms asks for what this transfer already does.
    #[must_use]
    pub fn has_terms(&self, granted: &Granted, netascii: bool) -> bool {
        self.blksize == granted.blksize
            && self.window == granted.window
            && self.is_netascii() == netascii
            && self.has(FIXED_TIMEOUT) == granted.timeout.is_some()
            && self.fixed_timeout() == granted.timeout
            && self.oack() == granted.order
    }

    /// The terms again, to repeat the OACK: `size` in case that it was asked.
    #[must_use]
    pub fn terms(&self, size: u64) -> Granted {
        Granted {
            blksize: self.blksize,
            window: self.window,
            timeout: self.fixed_timeout(),
            tsize: Some(size),
            order: self.oack(),
        }
    }

    /// Timed repeats since the last progress.
    #[must_use]
    pub const fn tries(&self) -> u8 {
        self.tries
    }

    /// The client repeats its request: the first reply goes out again.
    pub fn start_over(&mut self, now: Instant, policy: &Policy) {
        self.rewind(now, policy);
    }

    /// The OACK has been sent.
    pub fn offer_sent(&mut self, now: Instant, policy: &Policy) {
        self.start_window(now);
        self.arm(now, policy);
    }

    /// Whether the window has room and the stream a block for it.
    #[must_use]
    #[inline]
    pub const fn may_send(&self) -> bool {
        let all_out = self.has(LAST_SENT) && self.cursor == self.sent;
        self.cursor < self.window && self.flags & (OFFERED | FINISHED) == 0 && !all_out
    }

    /// Number, from 0, and offset of the block that goes out when all that was sent is acknowledged.
    #[must_use]
    #[inline]
    pub fn block_after_next_ack(&self) -> (u32, u64) {
        let block = self.acked.wrapping_add(u32::from(self.sent));
        (block, u64::from(block) * u64::from(self.blksize))
    }

    /// Takes the next block of a stream of `len` bytes to send; only after [`may_send`](Self::may_send).
    #[inline(always)]
    pub fn take_block(&mut self, now: Instant, len: u64, policy: &Policy) -> TakenBlock {
        if self.cursor == 0 {
            self.start_window(now);
        }
        let before = self.acked.wrapping_add(u32::from(self.cursor));
        let offset = u64::from(before) * u64::from(self.blksize);
        let left = len.saturating_sub(offset);
        let last = left < u64::from(self.blksize);
        self.cursor += 1;
        let repeat = self.cursor <= self.sent;
        if !repeat {
            self.sent = self.cursor;
            if last {
                self.set(LAST_SENT);
            }
        }
        self.arm(now, policy);
        let bytes = if last { low_bits(left) } else { self.blksize };
        TakenBlock { number: before.wrapping_add(1), offset, bytes, last, repeat }
    }

    /// Gives the block back that was taken last: it could not be sent after all.
    pub fn untake_block(&mut self, block: TakenBlock) {
        self.cursor -= 1;
        if !block.repeat {
            self.sent -= 1;
            self.clear(LAST_SENT);
        }
    }

    /// The client says that everything up to `block` has arrived.
    #[inline(always)]
    pub fn on_ack(&mut self, now: Instant, block: u16, policy: &Policy) -> AckEffect {
        if self.flags & (OFFERED | FINISHED) != 0 {
            return self.on_ack_outside(now, block, policy);
        }
        // Rollover: the distance to the full position decides, not the number itself.
        let distance = block.wrapping_sub(low_bits(u64::from(self.acked)));
        if distance == 0 {
            return self.on_repeat(now, policy);
        }
        if distance > u16::from(self.sent) {
            return AckEffect::Stale;
        }
        self.acked += u32::from(distance);
        // RFC 7440 §4: an ACK inside the window asks for what follows it; what was sent behind it is lost or ignored.
        let unacked = u16::from(self.sent) - distance;
        self.advance(now, low_byte(unacked), policy);
        if unacked == 0 && self.has(LAST_SENT) {
            self.set(FINISHED);
            self.deadline = Deadline::at(now + policy.linger);
            return AckEffect::Finished;
        }
        AckEffect::Progress
    }

    /// An ACK while no DATA is out.
    #[cold]
    fn on_ack_outside(&mut self, now: Instant, block: u16, policy: &Policy) -> AckEffect {
        // RFC 2347: an OACK is acknowledged by ACK 0, and no DATA is sent before it.
        if self.has(FINISHED) || block != 0 {
            return AckEffect::Stale;
        }
        self.clear(OFFERED);
        self.advance(now, 0, policy);
        AckEffect::Progress
    }

    /// A repeat of the last ACK. RFC 1123 §4.2.3.1: with one block in flight it is never answered by data, or each copy that
    /// the network makes doubles the rest of the transfer. With a window it may be the client's report of a lost first
    /// block; once until progress it is believed, but not before a round trip has passed in which a sound window would have
    /// been acknowledged.
    #[cold]
    fn on_repeat(&mut self, now: Instant, policy: &Policy) -> AckEffect {
        let unmeasured = self.srtt == 0;
        if self.window == 1 || self.sent == 0 || unmeasured || self.has(REPEAT_SPENT) {
            return AckEffect::Repeated;
        }
        self.set(REPEAT_SPENT);
        let patience = u64::from(self.srtt_us_or_zero()) + u64::from((4 * self.rttvar_us()).max(GRANULARITY_US));
        let waited = u64::from(low_micros(now).wrapping_sub(self.window_started));
        if waited < patience {
            self.set(HELD);
            self.deadline = Deadline::at(now + Duration::from_micros(patience - waited));
            return AckEffect::Hold;
        }
        self.rewind(now, policy);
        AckEffect::Restart
    }

    /// Looks at the clock. `random` spreads the repeats of clients that were lost together.
    pub fn on_deadline(&mut self, now: Instant, policy: &Policy, random: u32) -> DeadlineEffect {
        if self.deadline.millis_left(now) > 0 {
            return DeadlineEffect::NotYet;
        }
        if self.has(FINISHED) {
            return DeadlineEffect::Over;
        }
        if self.has(HELD) {
            self.rewind(now, policy);
            return DeadlineEffect::Again;
        }
        let retransmission = &policy.retransmission;
        let tries = if self.is_proven() { retransmission.tries } else { retransmission.unproven_tries };
        let silence = Duration::from_micros(self.rto(policy).micros() * (u64::from(self.tries) + 1));
        if self.tries >= tries || (self.has(FIXED_TIMEOUT) && silence >= policy.max_idle) {
            return DeadlineEffect::GiveUp { all_sent: self.has(LAST_SENT) && self.is_proven() };
        }
        self.tries += 1;
        self.flags = self.flags.checked_add(TIMEOUT).unwrap_or(self.flags);
        if !self.has(FIXED_TIMEOUT) {
            // RFC 6298 §5.5: back off the timer; it stays so until something is measured again (§5.7 and Karn). Something is
            // left to chance, so that clients that were lost together do not come back together.
            let doubled = self.rto.saturating_mul(2);
            let spread = if self.has(PROVEN) { low_bits(u64::from(random) % (u64::from(doubled) / 8 + 1)) } else { 0 };
            self.rto = doubled.saturating_add(spread).min(rto_units(retransmission.max));
        }
        self.rewind(now, policy);
        if self.has(OFFERED) { DeadlineEffect::OfferAgain } else { DeadlineEffect::Again }
    }

    /// Starts again behind the last acknowledged block. What was sent may still be acknowledged.
    fn rewind(&mut self, now: Instant, policy: &Policy) {
        self.cursor = 0;
        self.clear(HELD);
        self.set(AMBIGUOUS);
        self.arm(now, policy);
    }

    /// Bookkeeping of an ACK that brought something new, but left `unacked` blocks to be repeated.
    #[inline(always)]
    fn advance(&mut self, now: Instant, unacked: u8, policy: &Policy) {
        let elapsed_us = low_micros(now).wrapping_sub(self.window_started);
        if unacked == 0 && !self.has(AMBIGUOUS) {
            self.measure(elapsed_us, policy);
        } else {
            self.shrink_wait(elapsed_us, policy);
        }
        self.cursor = 0;
        self.sent = unacked;
        self.tries = 0;
        self.clear(AMBIGUOUS | REPEAT_SPENT | HELD);
        self.set(PROVEN);
        if unacked > 0 {
            self.set(AMBIGUOUS);
        }
    }

    /// Karn forbids to measure an ACK of something sent twice; but where every window has a loss nothing would ever be measured,
    /// and a wait that was backed off once would stay so. An ACK that comes this much sooner lets it shrink again.
    #[cold]
    fn shrink_wait(&mut self, elapsed_us: u32, policy: &Policy) {
        if u64::from(elapsed_us) * 4 < self.rto(policy).micros() && !self.has(FIXED_TIMEOUT) {
            self.rto = (self.rto / 2).max(rto_units(policy.retransmission.min));
        }
    }

    /// RFC 6298 §2.2 and §2.3, alpha = 1/8, beta = 1/4.
    #[inline(always)]
    fn measure(&mut self, sample_us: u32, policy: &Policy) {
        let old_us = self.srtt_us_or_zero();
        let (srtt_us, variation_us) = if old_us == 0 {
            (sample_us, sample_us / 2)
        } else {
            let old_variation = self.rttvar_us();
            let variation = old_variation - old_variation / 4 + old_us.abs_diff(sample_us) / 4;
            (old_us - old_us / 8 + sample_us / 8, variation)
        };
        self.srtt = saturate(srtt_us.div_ceil(SRTT_UNIT_US)).max(1);
        self.rttvar = saturate(variation_us / RTTVAR_UNIT_US);
        let wait =
            Duration::from_micros(u64::from(self.srtt_us_or_zero() + (4 * self.rttvar_us()).max(GRANULARITY_US)));
        let Retransmission { min, max, .. } = policy.retransmission;
        // On a short link every answer comes long before the shortest wait: mostly nothing is to be done.
        if wait > min || self.rto != rto_units(min) {
            self.set_wait(wait.max(min).min(max));
        }
    }

    #[cold]
    fn set_wait(&mut self, wait: Duration) {
        if !self.has(FIXED_TIMEOUT) {
            self.rto = rto_units(wait);
        }
    }

    fn start_window(&mut self, now: Instant) {
        self.window_started = low_micros(now);
    }

    #[inline]
    fn arm(&mut self, now: Instant, policy: &Policy) {
        if self.flags & (HELD | FIXED_TIMEOUT) == 0 {
            self.deadline = Deadline(Deadline::at(now).0.wrapping_add(u32::from(self.rto) * RTO_UNIT_MS));
        } else if !self.has(HELD) {
            self.deadline = Deadline::at(now + self.rto(policy));
        }
    }

    /// The interval that a client chose counts from its first ACK on: an unproven source may not tie a session down for long.
    fn rto(&self, policy: &Policy) -> Duration {
        if self.has(FIXED_TIMEOUT) && !self.has(PROVEN) {
            let backed_off = policy.retransmission.initial.micros() << self.tries.min(16);
            return Duration::from_micros(backed_off).min(policy.retransmission.max);
        }
        let rto = Duration::from_millis(u64::from(u32::from(self.rto) * RTO_UNIT_MS));
        // A client may ask for long waits, but not for more silence than any may have.
        if self.has(FIXED_TIMEOUT) { rto.min(policy.max_idle) } else { rto }
    }

    const fn srtt_us_or_zero(&self) -> u32 {
        self.srtt as u32 * SRTT_UNIT_US
    }

    fn rttvar_us(&self) -> u32 {
        u32::from(self.rttvar) * RTTVAR_UNIT_US
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u16) {
        self.flags |= flag;
    }

    fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }
}

#[inline]
fn rto_units(duration: Duration) -> u16 {
    u16::try_from(duration.micros().div_ceil(u64::from(RTO_UNIT_MS) * 1_000)).unwrap_or(u16::MAX)
}

/// A block number as it stands on the wire.
#[must_use]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "block numbers are modulo 65536 on the wire")]
pub const fn low_bits(block: u64) -> u16 {
    block as u16
}

/// For a number that is known to be below 256.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "said so above")]
const fn low_byte(number: u16) -> u8 {
    number as u8
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "what is too much becomes the most there is")]
const fn saturate(number: u32) -> u16 {
    if number > u16::MAX as u32 { u16::MAX } else { number as u16 }
}

#[expect(clippy::cast_possible_truncation, reason = "microseconds are compared modulo 2^32")]
fn low_micros(now: Instant) -> u32 {
    now.micros() as u32
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
