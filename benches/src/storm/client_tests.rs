//! The client against packets made by hand.

use super::*;

const ASKED: Asked = Asked { blksize: Some(8), windowsize: Some(4), timeout: None, tsize: true };
const SERVER: u16 = 5000;
const OACK: &[u8] = b"\0\x06blksize\x008\0windowsize\x004\0";
const FULL: [u8; 8] = [7; 8];

fn data(block: u16, payload: &[u8]) -> Vec<u8> {
    [&[0, 3], &block.to_be_bytes()[..], payload].concat()
}

fn on_wire(block: u64) -> u16 {
    u16::try_from(block % 65_536).unwrap()
}

/// Takes a packet from the server; what it meant, without borrowing it, and the reply.
fn take(transfer: &mut Transfer, packet: &[u8]) -> (String, Reply) {
    let step = transfer.receive(&ASKED, SERVER, packet);
    let name = match step.event {
        Event::Block { offset, last, .. } => format!("block at {offset}{}", if last { ", last" } else { "" }),
        other => format!("{other:?}"),
    };
    (name, step.reply)
}

fn expect(transfer: &mut Transfer, packet: &[u8], event: &str, reply: Reply) {
    assert_eq!(take(transfer, packet), (event.to_owned(), reply), "{packet:?} to {transfer:?}");
}

/// Options accepted, windows of 4.
fn accepted() -> Transfer {
    let mut transfer = Transfer::IDLE;
    assert_eq!(transfer.begin(), Reply::Request);
    expect(&mut transfer, OACK, "Options", Reply::Ack(0));
    transfer
}

/// Without options: 512 bytes, one block at a time.
fn plain() -> Transfer {
    let mut transfer = Transfer::IDLE;
    transfer.begin();
    transfer
}

#[test]
fn rfc1350_lock_step() {
    let mut transfer = plain();
    expect(&mut transfer, &data(1, &[1; 512]), "block at 0", Reply::Ack(1));
    expect(&mut transfer, &data(2, &[2; 512]), "block at 512", Reply::Ack(2));
    expect(&mut transfer, &data(3, &[]), "block at 1024, last", Reply::Ack(3));
    assert!(!transfer.is_running());
}

#[test]
fn rfc1350_6_a_repeated_last_block_is_acknowledged_again() {
    let mut transfer = plain();
    expect(&mut transfer, &data(1, b"end"), "block at 0, last", Reply::Ack(1));
    for _ in 0..3 {
        expect(&mut transfer, &data(1, b"end"), "Duplicate", Reply::Ack(1));
    }
    expect(&mut transfer, &data(2, b"end"), "Duplicate", Reply::Nothing);
    expect(&mut transfer, b"\0\x05\0\0late\0", "Meaningless", Reply::Nothing);
    assert!(!transfer.is_running());
}

#[test]
fn rfc7440_3_one_ack_for_each_window() {
    let mut transfer = accepted();
    for block in 1..=3 {
        assert_eq!(take(&mut transfer, &data(block, &FULL)).1, Reply::Nothing);
    }
    expect(&mut transfer, &data(4, &FULL), "block at 24", Reply::Ack(4));
    expect(&mut transfer, &data(5, &FULL), "block at 32", Reply::Nothing);
    expect(&mut transfer, &data(6, &FULL[..1]), "block at 40, last", Reply::Ack(6));
}

#[test]
fn rfc7440_4_a_gap_is_answered_once() {
    let mut transfer = accepted();
    expect(&mut transfer, &data(1, &FULL), "block at 0", Reply::Nothing);
    expect(&mut transfer, &data(3, &FULL), "Gap", Reply::Ack(1));
    expect(&mut transfer, &data(4, &FULL), "Gap", Reply::Nothing);
    // The server goes back, and the window counts from there.
    for block in 2..=4 {
        assert_eq!(take(&mut transfer, &data(block, &FULL)).1, Reply::Nothing, "{block}");
    }
    expect(&mut transfer, &data(5, &FULL), "block at 32", Reply::Ack(5));
}

#[test]
fn a_lost_first_block_of_a_window_is_a_gap_too() {
    let mut transfer = accepted();
    expect(&mut transfer, &data(2, &FULL), "Gap", Reply::Ack(0));
    expect(&mut transfer, &data(3, &FULL), "Gap", Reply::Nothing);
    assert_eq!(transfer.time_out(5), Ok(Reply::Ack(0)));
    expect(&mut transfer, &data(2, &FULL), "Gap", Reply::Ack(0));
}

#[test]
fn rfc1123_4_2_3_1_duplicates_do_not_multiply() {
    let mut transfer = accepted();
    for block in 1..=4 {
        take(&mut transfer, &data(block, &FULL));
    }
    // The ACK of the window was lost: the server sends the window again.
    for block in 1..=3 {
        expect(&mut transfer, &data(block, &FULL), "Duplicate", Reply::Nothing);
    }
    expect(&mut transfer, &data(4, &FULL), "Duplicate", Reply::Ack(4));
    for _ in 0..10 {
        expect(&mut transfer, &data(4, &FULL), "Duplicate", Reply::Nothing);
    }
    // Within a window nothing is answered, the next ACK is on its way.
    take(&mut transfer, &data(5, &FULL));
    expect(&mut transfer, &data(5, &FULL), "Duplicate", Reply::Nothing);
}

#[test]
fn a_lost_oack_brings_the_request_again() {
    let mut transfer = plain();
    assert_eq!(transfer.time_out(2), Ok(Reply::Request));
    expect(&mut transfer, OACK, "Options", Reply::Ack(0));
    assert_eq!(transfer.timeouts(), 0);
    // Its answer to the first request may still come: the same OACK.
    expect(&mut transfer, OACK, "Duplicate", Reply::Ack(0));
    expect(&mut transfer, OACK, "Duplicate", Reply::Nothing);
}

#[test]
fn a_lost_ack_of_the_oack_is_repeated_by_either_side() {
    let mut transfer = accepted();
    assert_eq!(transfer.time_out(2), Ok(Reply::Ack(0)));
    expect(&mut transfer, OACK, "Duplicate", Reply::Ack(0));
    expect(&mut transfer, &data(1, &FULL), "block at 0", Reply::Nothing);
    expect(&mut transfer, OACK, "Duplicate", Reply::Nothing);
}

#[test]
fn a_server_without_options_sends_data_at_once() {
    let mut transfer = plain();
    expect(&mut transfer, &data(1, &[0; 512]), "block at 0", Reply::Ack(1));
    expect(&mut transfer, OACK, "Duplicate", Reply::Nothing);
    expect(&mut transfer, &data(2, &[0; 513]), "Failed(BlockTooLong)", Reply::Error(4));
    assert!(!transfer.is_running());
}

#[test]
fn block_numbers_roll_over_to_0() {
    let mut transfer = accepted();
    for block in 1..=140_000_u64 {
        let number = on_wire(block);
        let (event, reply) = take(&mut transfer, &data(number, &FULL));
        assert_eq!(event, format!("block at {}", (block - 1) * 8));
        let expected = if block % 4 == 0 { Reply::Ack(number) } else { Reply::Nothing };
        assert_eq!(reply, expected, "{block}");
        if block == 65_537 {
            // Behind the edge an old number is a duplicate, and one ahead is a gap.
            expect(&mut transfer, &data(65_535, &FULL), "Duplicate", Reply::Nothing);
        }
    }
    let mut transfer = accepted();
    for block in 1..=65_535 {
        take(&mut transfer, &data(block, &FULL));
    }
    expect(&mut transfer, &data(1, &FULL), "Gap", Reply::Ack(65_535));
    expect(&mut transfer, &data(0, &FULL), "block at 524280", Reply::Nothing);
    assert_eq!(transfer.time_out(1), Ok(Reply::Ack(0)), "which is block 65536");
}

#[test]
fn a_transfer_ends_after_its_tries() {
    let mut transfer = plain();
    assert_eq!(transfer.time_out(2), Ok(Reply::Request));
    assert_eq!(transfer.time_out(2), Ok(Reply::Request));
    assert_eq!(transfer.time_out(2), Err(Failure::NoAnswer));
    assert!(!transfer.is_running());

    let mut transfer = accepted();
    take(&mut transfer, &data(1, &FULL));
    for _ in 0..2 {
        assert_eq!(transfer.time_out(2), Ok(Reply::Ack(1)));
    }
    take(&mut transfer, &data(2, &FULL));
    for _ in 0..2 {
        assert_eq!(transfer.time_out(2), Ok(Reply::Ack(2)), "a step forward begins anew");
    }
    assert_eq!(transfer.time_out(2), Err(Failure::Silence));
}

#[test]
fn errors_end_it_and_are_not_answered() {
    for begun in [false, true] {
        let mut transfer = if begun { accepted() } else { plain() };
        expect(&mut transfer, b"\0\x05\0\x01no\0", "Failed(Server(1))", Reply::Nothing);
        assert!(!transfer.is_running());
        expect(&mut transfer, &data(1, &FULL), "Meaningless", Reply::Nothing);
    }
    let mut transfer = plain();
    expect(&mut transfer, b"\0\x05", "Failed(Server(0))", Reply::Nothing);
}

#[test]
fn rfc1350_4_strangers_get_error_5_and_harm_nothing() {
    let mut transfer = accepted();
    for (packet, reply) in [
        (data(1, &FULL), Reply::Error(5)),
        (OACK.to_vec(), Reply::Error(5)),
        (b"\0\x05\0\0\0".to_vec(), Reply::Nothing),
        (b"\0\x04\0\0".to_vec(), Reply::Nothing),
    ] {
        let step = transfer.receive(&ASKED, SERVER + 1, &packet);
        assert_eq!((step.event, step.reply), (Event::Stranger, reply));
    }
    expect(&mut transfer, &data(1, &FULL), "block at 0", Reply::Nothing);
}

#[test]
fn options_that_were_not_asked_are_refused() {
    for body in ["blksize\x009\0", "windowsize\x005\0", "timeout\x001\0", "x\x001\0"] {
        let mut transfer = plain();
        expect(&mut transfer, &[b"\0\x06", body.as_bytes()].concat(), "Failed(Options)", Reply::Error(8));
        assert!(!transfer.is_running());
    }
}

#[test]
fn the_size_must_be_what_the_server_said() {
    for (size, event) in [("13", "block at 8, last"), ("12", "Failed(WrongSize)")] {
        let mut transfer = plain();
        take(&mut transfer, format!("\0\x06blksize\x008\0tsize\0{size}\0").as_bytes());
        take(&mut transfer, &data(1, &FULL));
        expect(&mut transfer, &data(2, &FULL[..5]), event, Reply::Ack(2));
        assert!(!transfer.is_running());
    }
}

#[test]
fn what_no_server_sends_is_ignored() {
    for packet in [&b""[..], b"\0", b"\0\x03", b"\0\x03\0", b"\0\x09\0\0", b"\0\x04\0\x01", b"\0\x01x\0octet\0"] {
        for mut transfer in [Transfer::IDLE, plain(), accepted()] {
            expect(&mut transfer, packet, "Meaningless", Reply::Nothing);
        }
    }
    let mut transfer = plain();
    expect(&mut transfer, &data(2, &[0; 512]), "Meaningless", Reply::Nothing);
    expect(&mut transfer, &data(0, &[0; 512]), "Meaningless", Reply::Nothing);
    assert_eq!(transfer.server_port(), None, "the port is not taken from it");
}
