//! An mbuf that outlives its pool and EAL's handle stays usable memory.
#![cfg(feature = "dpdk")]

use dataplane::dpdk::{Eal, Mempool, SocketId};
use dataplane::port::Frame;

#[test]
fn an_mbuf_outlives_its_pool_and_eal() {
    let args = ["--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--lcores", "0@0"];
    let eal = Eal::init(&args.map(str::to_owned)).expect("EAL without hugepages");
    let make = || Mempool::new(&eal, "outlived", 63, 2048, 0, SocketId::ANY);

    let pool = make().expect("pool");
    let mut frame = pool.allocate().expect("a frame");
    drop(pool);
    assert!(make().is_err(), "the pool, and its name, are there until the frame is");
    frame.resize(2048).expect("room");
    drop(eal);
    frame.bytes_mut().fill(0x5a);
    assert_eq!(frame.bytes(), [0x5a; 2048]);
    drop(frame);
}
