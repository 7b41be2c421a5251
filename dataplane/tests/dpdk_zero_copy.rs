//! File bytes by reference over `net_ring`, which passes pointers: what arrives refers to the sender's memory. One test, because EAL
//! starts once in a process.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use std::sync::Arc;

use dataplane::dpdk::{Device, DeviceConfig, Eal, Mbuf, Mempool, QueuePair, SocketId, WhyCopied, ZeroCopy};
use dataplane::engine::Outcome;
use dataplane::files::{Arena, ArenaBuilder};
use dataplane::port::{ArenaNumber, Backlog, Burst, Frame, Payload, Port, TooLong};
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::time::Instant;
use dataplane::worker::{Lane, LaneCounters, Neighbourhood};
use lab::client::{Client, Habits};
use lab::frames::Host;
use lab::{Setup, catalogue, content};

/// Data room of the tests' pools, in bytes.
const ROOM: u16 = 2048;

/// Payloads from this size on go by reference.
const MIN: u16 = 1024;

const HEADER: [u8; 46] = [0x5a; 46];

const FIRST: ArenaNumber = ArenaNumber(0);

#[test]
fn file_bytes_by_reference() {
    let args = ["--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "--lcores", "0@0"];
    let eal = Eal::init(&args.map(str::to_owned)).expect("EAL without hugepages");

    ports_say_what_they_do(&eal);
    a_reference_arrives_with_the_bytes(&eal);
    a_received_reference_cannot_be_written(&eal);
    short_and_foreign_payloads_are_copied(&eal);
    an_empty_pool_means_a_copy(&eal);
    references_end_before_their_count_wraps(&eal);
    a_loan_ends_when_its_last_frame_is_back(&eal);
    a_loan_outlives_its_queue(&eal);
    transfers_run_by_reference(&eal);
    a_frame_outlives_everything(eal);
}

struct Bed {
    device: Device,
    pair: QueuePair,
    pool: Arc<Mempool>,
}

fn bed(eal: &Eal, name: &str, frames: u32, zero_copy_min_bytes: u16) -> Bed {
    let pool = Mempool::new(eal, name, frames, ROOM, 0, SocketId::ANY).expect("pool");
    let device_name = format!("net_ring_{name}");
    eal.hotplug_vdev(&device_name, "").expect("device");
    let (device, pair) = started(eal, &device_name, &pool, zero_copy_min_bytes);
    Bed { device, pair, pool }
}

fn started(eal: &Eal, name: &str, pool: &Arc<Mempool>, zero_copy_min_bytes: u16) -> (Device, QueuePair) {
    let port = Device::find(eal, name).expect("port");
    let config = DeviceConfig {
        queue_pairs: 1,
        rx_descriptors: 256,
        tx_descriptors: 256,
        mtu: None,
        checksum_offload: true,
        all_multicast: false,
        zero_copy_min_bytes,
    };
    let (mut device, mut pairs) = Device::configure(eal, port, &config, &[Arc::clone(pool)]).expect("configuration");
    device.start().expect("start");
    (device, pairs.pop().expect("one queue pair"))
}

fn arena(bytes: &[u8]) -> Arc<Arena> {
    let mut builder = ArenaBuilder::new(bytes.len(), false).unwrap();
    builder.vacant()[..bytes.len()].copy_from_slice(bytes);
    builder.commit(bytes.len());
    Arc::new(builder.seal().unwrap())
}

/// A frame with a header and these bytes of an arena behind it.
fn carrying(pair: &mut QueuePair, number: ArenaNumber, bytes: &[u8]) -> Mbuf {
    let mut frame = pair.allocate().expect("a frame");
    let payload = Payload { bytes, arena: number };
    pair.compose(&mut frame, HEADER.len(), payload).expect("attached or copied").copy_from_slice(&HEADER);
    frame
}

/// Through the ring and back.
fn passed(pair: &mut QueuePair, frame: Mbuf) -> Mbuf {
    let mut backlog = Backlog::new();
    backlog.push(frame);
    assert_eq!(pair.send(&mut backlog), 1);
    let mut burst = Burst::new();
    assert_eq!(pair.receive(&mut burst), 1);
    burst.pop().unwrap()
}

fn whole(frame: &Mbuf) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

fn ports_say_what_they_do(eal: &Eal) {
    let pool = Mempool::new(eal, "say", 63, ROOM, 0, SocketId::ANY).expect("pool");
    for (name, min, outcome) in [
        ("net_ring_say", MIN, ZeroCopy::From(MIN)),
        ("net_ring_say_not", 0, ZeroCopy::Never(WhyCopied::NotAsked)),
        ("net_null_say", MIN, ZeroCopy::Never(WhyCopied::OneSegment)),
    ] {
        eal.hotplug_vdev(name, "").expect("device");
        let info = Device::info(eal, Device::find(eal, name).unwrap()).unwrap();
        assert_eq!((info.bus.as_str(), info.capabilities.multi_segments), ("vdev", name != "net_null_say"));
        let (device, mut pair) = started(eal, name, &pool, min);
        assert_eq!(device.zero_copy(), outcome);
        // Whatever the port does, it takes a loan and ends it.
        pair.lend(FIRST, &arena(&content(4_000, 1)));
        assert_eq!(device.zero_copy(), outcome);
        assert!(pair.reclaim(FIRST));
    }
}

fn a_reference_arrives_with_the_bytes(eal: &Eal) {
    let Bed { mut pair, pool, .. } = bed(eal, "arrives", 63, MIN);
    let bytes = content(100_000, 2);
    let arena = arena(&bytes);
    pair.lend(FIRST, &arena);
    for (start, len) in [(0, 1_024), (4_032, 1_428), (98_976, 1_024), (7, 65_464)] {
        let frame = carrying(&mut pair, FIRST, arena.bytes(start, start + len));
        assert_eq!((frame.bytes(), frame.segments().count()), (&HEADER[..], 2));
        let frame = passed(&mut pair, frame);
        let segments: Vec<&[u8]> = frame.segments().collect();
        let from = usize::try_from(start).unwrap();
        assert_eq!(segments, [&HEADER[..], &bytes[from..from + usize::try_from(len).unwrap()]]);
        assert_eq!(segments[1].as_ptr(), arena.bytes(start, start + 1).as_ptr(), "the arena's own bytes");
        assert_eq!(pool.in_use(), 2);
    }
    assert_eq!(pool.in_use(), 0);
    assert!(pair.reclaim(FIRST));
}

fn a_received_reference_cannot_be_written(eal: &Eal) {
    let Bed { mut pair, .. } = bed(eal, "written", 63, MIN);
    let arena = arena(&content(10_000, 3));
    pair.lend(FIRST, &arena);
    let frame = carrying(&mut pair, FIRST, arena.bytes(0, 2_000));
    let mut frame = passed(&mut pair, frame);
    assert!(!frame.is_linear());
    assert_eq!((frame.resize(10), frame.append(&[1]), frame.resize(2_100)), (Err(TooLong), Err(TooLong), Err(TooLong)));
    assert_eq!(frame.bytes_mut().len(), HEADER.len(), "the first segment is the frame's own");
    // A second reference does not fit behind a chain, and neither does a copy.
    let payload = Payload { bytes: arena.bytes(0, 1_500), arena: FIRST };
    assert_eq!(pair.compose(&mut frame, HEADER.len(), payload), Err(TooLong));
    assert_eq!(whole(&frame)[46..], *arena.bytes(0, 2_000));
}

fn short_and_foreign_payloads_are_copied(eal: &Eal) {
    let Bed { mut pair, pool, .. } = bed(eal, "copied", 63, MIN);
    let lent = arena(&content(8_192, 4));
    let other = arena(&content(8_192, 5));
    pair.lend(ArenaNumber(3), &lent);
    let outside = vec![7; 1_500];
    for (number, bytes, by_reference) in [
        (3, lent.bytes(0, 1_024), true),
        (3, lent.bytes(0, 1_023), false),
        (3, lent.bytes(0, 0), false),
        (3, lent.bytes(7_168, 8_192), true),
        (3, other.bytes(0, 1_024), false),
        (3, &outside, false),
        (2, lent.bytes(0, 1_024), false),
        (255, lent.bytes(0, 1_024), false),
    ] {
        let frame = carrying(&mut pair, ArenaNumber(number), bytes);
        assert_eq!((frame.is_linear(), frame.segments().count() == 2), (!by_reference, by_reference));
        assert_eq!(pool.in_use(), 1 + u32::from(by_reference));
        assert_eq!(whole(&frame)[46..], *bytes);
    }
    // A number that is taken keeps its arena as long as frames refer to it, and takes another one after that.
    let frame = carrying(&mut pair, ArenaNumber(3), lent.bytes(0, 1_024));
    pair.lend(ArenaNumber(3), &other);
    assert!(carrying(&mut pair, ArenaNumber(3), other.bytes(0, 1_024)).is_linear());
    drop(frame);
    pair.lend(ArenaNumber(3), &other);
    assert!(!carrying(&mut pair, ArenaNumber(3), other.bytes(0, 1_024)).is_linear());
    assert_eq!((Arc::strong_count(&lent), Arc::strong_count(&other)), (1, 2));
}

fn an_empty_pool_means_a_copy(eal: &Eal) {
    let Bed { mut pair, pool, .. } = bed(eal, "short", 3, MIN);
    let arena = arena(&content(4_096, 6));
    pair.lend(FIRST, &arena);
    let first = carrying(&mut pair, FIRST, arena.bytes(0, 1_400));
    let second = carrying(&mut pair, FIRST, arena.bytes(0, 1_400));
    assert_eq!((first.is_linear(), second.is_linear(), pool.in_use()), (false, true, 3));
    assert_eq!(whole(&first), whole(&second));
}

/// DPDK counts in 16 bits.
fn references_end_before_their_count_wraps(eal: &Eal) {
    const MOST: usize = 60_000;
    let pool = Mempool::new(eal, "wraps", 131_071, 64, 0, SocketId::ANY).expect("pool");
    eal.hotplug_vdev("net_ring_wraps", "").expect("device");
    let (_device, mut pair) = started(eal, "net_ring_wraps", &pool, 32);
    let arena = arena(&content(4_096, 7));
    pair.lend(FIRST, &arena);
    let mut attach = || {
        let mut frame = pair.allocate().expect("a frame");
        pair.compose(&mut frame, 0, Payload { bytes: arena.bytes(0, 32), arena: FIRST }).unwrap();
        frame
    };
    let frames: Vec<Mbuf> = (0..MOST + 1_000).map(|_| attach()).collect();
    assert!(frames[..MOST].iter().all(|frame| !frame.is_linear()));
    assert!(frames[MOST..].iter().all(|frame| frame.is_linear() && frame.bytes() == arena.bytes(0, 32)));
    drop(frames);
    assert!(!attach().is_linear(), "there is room again");
    assert!(pair.reclaim(FIRST));
}

fn a_loan_ends_when_its_last_frame_is_back(eal: &Eal) {
    let Bed { mut pair, .. } = bed(eal, "ends", 63, MIN);
    let arena = arena(&content(4_096, 8));
    pair.lend(FIRST, &arena);
    assert_eq!(Arc::strong_count(&arena), 2);
    let (first, second) =
        (carrying(&mut pair, FIRST, arena.bytes(0, 1_024)), carrying(&mut pair, FIRST, arena.bytes(0, 1_024)));
    assert!(!pair.reclaim(FIRST));
    let mut backlog = Backlog::new();
    backlog.push(first);
    assert_eq!(pair.send(&mut backlog), 1);
    drop(second);
    assert!(!pair.reclaim(FIRST), "one is in the ring");
    let mut burst = Burst::new();
    assert_eq!(pair.receive(&mut burst), 1);
    assert!(!pair.reclaim(FIRST), "one is in somebody's hands");
    assert_eq!(Arc::strong_count(&arena), 2);
    burst.clear();
    assert!(pair.reclaim(FIRST) && pair.reclaim(FIRST) && pair.reclaim(ArenaNumber(200)));
    assert_eq!(Arc::strong_count(&arena), 1);
    assert!(carrying(&mut pair, FIRST, arena.bytes(0, 1_024)).is_linear(), "the loan is over");
}

fn a_loan_outlives_its_queue(eal: &Eal) {
    // What is still in the port's ring goes with the port.
    let Bed { mut pair, device, .. } = bed(eal, "ring", 63, MIN);
    let bytes = content(4_096, 9);
    let in_ring = arena(&bytes);
    pair.lend(FIRST, &in_ring);
    let mut backlog = Backlog::new();
    backlog.push(carrying(&mut pair, FIRST, in_ring.bytes(0, 1_024)));
    assert_eq!(pair.send(&mut backlog), 1);
    drop((device, pair));
    assert_eq!(Arc::strong_count(&in_ring), 1);

    // What somebody holds keeps its arena.
    let Bed { mut pair, device, pool } = bed(eal, "held", 63, MIN);
    let held = arena(&bytes);
    pair.lend(FIRST, &held);
    let frame = carrying(&mut pair, FIRST, held.bytes(0, 1_024));
    let frame = passed(&mut pair, frame);
    let (rx, tx) = pair.split();
    drop((device, rx, tx, pool));
    assert_eq!(Arc::strong_count(&held), 2);
    assert_eq!(whole(&frame)[46..], bytes[..1_024]);
    drop(frame);
    // The next queue that goes looks after it.
    let Bed { mut pair, .. } = bed(eal, "next", 63, MIN);
    pair.lend(FIRST, &in_ring);
    drop(pair);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// A lane over a ring port, with the client at the same ring: what the lane sent is fetched before its next turn.
fn transfers_run_by_reference(eal: &Eal) {
    let files = |seed| vec![("small", content(700, seed)), ("large", content(200_000, seed))];
    let Bed { pair, pool, .. } = bed(eal, "lane", 511, MIN);
    let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
    let counters = Arc::new(LaneCounters::default());
    let engine = lab::engine(&Setup::default(), catalogue(1, &files(1)), share);
    let mut lane = Lane::new(engine, pair, share.index, Neighbourhood::alone(), Arc::clone(&counters));
    let mut now_us = 1_000;

    let options: [(&str, &str); 3] = [("blksize", "1400"), ("windowsize", "8"), ("tsize", "0")];
    for (number, name, chained) in [(2, "small", 0), (3, "large", 143)] {
        let mut client = Client::new(Host::v4(number), 2_000, name, "octet", &options, Habits::default());
        assert_eq!(
            run(&mut lane, &mut client, &mut now_us),
            chained,
            "all of the large one's blocks, the last of 1200 bytes too"
        );
        assert_eq!(client.outcome, Some(Ok(())));
        let wanted = files(1).into_iter().find(|(each, _)| *each == name).unwrap().1;
        assert!(client.received == wanted, "the bytes of {name}");
    }
    assert_eq!(pool.in_use(), 0);

    // A new catalogue is lent as well; the old one is kept while a frame refers to it.
    let mut client = Client::new(Host::v4(4), 2_000, "large", "octet", &[("blksize", "1400")], Habits::default());
    let oack = exchange(&mut lane, &client.start(now_us), now_us);
    let held = exchange(&mut lane, &client.hear(now_us, &whole(&oack[0])), now_us);
    assert_eq!((held.len(), held[0].segments().count()), (1, 2));
    lane.install(catalogue(2, &files(2))).unwrap();
    assert!(lane.take_unread_catalogue().is_none(), "a transfer reads it");
    let peer = lab::hand::Peer::v4(4, 2_000);
    let tid = lab::hand::Reply::read(&whole(&held[0])).tid();
    assert!(exchange(&mut lane, &[peer.error(tid, 0)], now_us).is_empty());
    assert!(lane.take_unread_catalogue().is_none(), "a frame refers to it");
    assert!(whole(&held[0]).ends_with(&files(1)[1].1[..1_400]));
    drop((held, oack));
    let unread = lane.take_unread_catalogue().expect("nobody needs it");
    assert_eq!((unread.generation().0, Arc::strong_count(unread.arena())), (1, 1));
    assert!(lane.take_unread_catalogue().is_none(), "the current one");

    let mut client = Client::new(Host::v4(5), 2_000, "large", "octet", &options, Habits::default());
    assert_eq!(run(&mut lane, &mut client, &mut now_us), 143);
    assert!(client.received == files(2)[1].1, "the new file");

    // Our own reply, sent back to us.
    let mut client = Client::new(Host::v4(6), 2_000, "large", "octet", &[("blksize", "1400")], Habits::default());
    let oack = exchange(&mut lane, &client.start(now_us), now_us);
    let mut data = exchange(&mut lane, &client.hear(now_us, &whole(&oack[0])), now_us);
    drop(oack);
    let mut backlog: Backlog<Mbuf> = data.drain(..).collect();
    assert_eq!(lane.port_mut().send(&mut backlog), 1);
    lane.poll(Instant::from_micros(now_us));
    assert_eq!(counters.outcome(Outcome::Chained), 1);
    assert_eq!(counters.rx_frames.get(), counters.accounted_frames());
    assert_eq!(pool.in_use(), 0);
}

/// Puts frames into the lane's ring; returns what it sends in one turn.
fn exchange(lane: &mut Lane<QueuePair>, frames: &[Vec<u8>], now_us: u64) -> Vec<Mbuf> {
    let mut backlog = Backlog::new();
    for bytes in frames {
        let mut frame = lane.port_mut().allocate().expect("a frame");
        frame.append(bytes).expect("room");
        backlog.push(frame);
    }
    lane.port_mut().send(&mut backlog);
    lane.poll(Instant::from_micros(now_us));
    let mut sent = Vec::new();
    let mut burst = Burst::new();
    while lane.port_mut().receive(&mut burst) > 0 {
        sent.extend(burst.drain(..));
    }
    sent
}

/// Runs a client to its end; returns how many frames came in two parts.
fn run(lane: &mut Lane<QueuePair>, client: &mut Client, now_us: &mut u64) -> usize {
    let mut frames = client.start(*now_us);
    let mut chained = 0;
    for _ in 0..1_000 {
        *now_us += 100;
        let sent = exchange(lane, &frames, *now_us);
        chained += sent.iter().filter(|frame| frame.segments().count() == 2).count();
        frames = sent.iter().flat_map(|frame| client.hear(*now_us, &whole(frame))).collect();
        if client.is_done() {
            exchange(lane, &frames, *now_us);
            return chained;
        }
    }
    panic!("not done after 1000 turns");
}

fn a_frame_outlives_everything(eal: Eal) {
    let Bed { mut pair, device, pool } = bed(&eal, "outlives", 63, MIN);
    let bytes = content(4_096, 10);
    let arena = arena(&bytes);
    pair.lend(FIRST, &arena);
    let frame = carrying(&mut pair, FIRST, arena.bytes(64, 2_064));
    let frame = passed(&mut pair, frame);
    drop((device, pair, pool, arena, eal));
    assert_eq!(whole(&frame)[46..], bytes[64..2_064]);
    drop(frame);
}
