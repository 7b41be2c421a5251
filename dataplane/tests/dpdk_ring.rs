//! Queues, pools and lcores on virtual devices, without hugepages or a NIC. One test, because EAL starts once in a process.
#![cfg(feature = "dpdk")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use dataplane::dpdk::{
    BUILT_VERSION, Device, DeviceConfig, DeviceError, Eal, EalError, Errno, LaunchError, LcoreId, Mempool, PoolError,
    PortStats, QueuePair, RssError, SocketId, Tsc,
};
use dataplane::port::{Backlog, Burst, Frame, HashedFields, Port, ReceivedChecksums, TooLong};
use dataplane::session::{Steering, WorkerIndex};

/// Data room of the tests' pools, in bytes.
const ROOM: u16 = 2048;

/// What a ring of `net_ring` holds: 1024 places, one of which stays empty.
const RING_FRAMES: usize = 1023;

const CONFIG: DeviceConfig = DeviceConfig {
    queue_pairs: 1,
    rx_descriptors: 256,
    tx_descriptors: 256,
    mtu: None,
    checksum_offload: true,
    all_multicast: true,
    zero_copy_min_bytes: 0,
};

#[test]
fn virtual_devices() {
    let args = ["--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "--lcores", "0@0,1@0"];
    let eal = Eal::init(&args.map(str::to_owned)).expect("EAL without hugepages");

    assert_eq!(Eal::init(&[]).expect_err("one EAL per process"), EalError::AlreadyStarted);
    assert_eq!(eal.version(), format!("DPDK {BUILT_VERSION}"));
    assert_eq!((eal.main_lcore(), eal.worker_lcores()), (LcoreId::new(0), vec![LcoreId::new(1)]));
    assert_ne!(eal.socket_of(LcoreId::new(1)), SocketId::ANY);
    assert_eq!(eal.socket_of(LcoreId::new(7)), SocketId::ANY);

    the_clock_counts_microseconds(&eal);
    pools_say_what_is_wrong(&eal);
    missing_driver_is_named(&eal);
    a_frame_passes(&eal);
    a_full_ring_returns_the_unsent_in_order(&eal);
    frames_end_at_the_buffers_end(&eal);
    an_empty_pool_is_ordinary(&eal);
    a_port_is_configured_once_and_within_its_limits(&eal);
    grants_follow_what_the_device_can(&eal);
    queues_may_be_polled_before_the_start(&eal);
    split_queues_work_apart(&eal);
    net_null_gives_and_takes_bursts(&eal);
    ports_tell_how_they_spread_frames(&eal);
    a_chained_frame_is_not_linear(&eal);
    lcores_run_closures(&eal);
    a_panic_on_an_lcore_is_reported(&eal);
}

fn pool(eal: &Eal, name: &str, frames: u32) -> Arc<Mempool> {
    Mempool::new(eal, name, frames, ROOM, 32, SocketId::ANY).expect("pool")
}

/// Adds the device and starts it with one queue pair.
fn started(eal: &Eal, name: &str, args: &str, pool: &Arc<Mempool>) -> (Device, QueuePair) {
    eal.hotplug_vdev(name, args).expect("device");
    let port = Device::find(eal, name).expect("port of the device");
    assert!(Device::list(eal).contains(&port));
    let (mut device, mut pairs) = Device::configure(eal, port, &CONFIG, &[Arc::clone(pool)]).expect("configuration");
    device.start().expect("start");
    let pair = pairs.pop().expect("one queue pair");
    assert_eq!((pair.port(), pair.queue().index(), pairs.len()), (port, 0, 0));
    (device, pair)
}

/// A frame of 60 bytes that tells its number.
fn numbered(pair: &mut QueuePair, number: u32) -> <QueuePair as Port>::Frame {
    let mut frame = pair.allocate().expect("a frame in the pool");
    frame.resize(60).expect("room for 60 bytes");
    frame.bytes_mut().fill(0);
    frame.bytes_mut()[..4].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &impl Frame) -> u32 {
    u32::from_be_bytes(frame.bytes()[..4].try_into().expect("four bytes"))
}

/// Receives until nothing comes any more.
fn receive_numbers(pair: &mut QueuePair) -> Vec<u32> {
    let mut numbers = Vec::new();
    let mut burst = Burst::new();
    while pair.receive(&mut burst) > 0 {
        numbers.extend(burst.drain(..).map(|frame| number(&frame)));
    }
    numbers
}

fn the_clock_counts_microseconds(eal: &Eal) {
    let clock = Tsc::new(eal);
    let before = clock.now();
    sleep(Duration::from_millis(20));
    let slept = clock.now() - before;
    assert!((20_000..2_000_000).contains(&slept.micros()), "{slept:?}");
}

fn pools_say_what_is_wrong(eal: &Eal) {
    let first = pool(eal, "twice", 63);
    assert_eq!((first.frames(), first.available(), first.in_use(), first.data_room_bytes()), (63, 63, 0, ROOM));
    let make =
        |name: &str, frames, room, cache| Mempool::new(eal, name, frames, room, cache, SocketId::ANY).map(|_| ());
    assert_eq!(make("twice", 63, ROOM, 0), Err(PoolError::NameInUse("twice".to_owned())));
    drop(first);
    assert_eq!(make("twice", 63, ROOM, 0), Ok(()));
    assert_eq!(make("a\0b", 63, ROOM, 0), Err(PoolError::BadName("a\0b".to_owned())));
    let long = "a name that is far too long for a pool".to_owned();
    assert_eq!(make(&long, 63, ROOM, 0), Err(PoolError::BadName(long)));
    assert_eq!(make("room", 63, u16::MAX, 0), Err(PoolError::RoomTooLarge(u16::MAX)));
    let huge = PoolError::OutOfMemory { name: "huge".to_owned(), frames: 1 << 20 };
    assert_eq!(make("huge", 1 << 20, ROOM, 0), Err(huge));
    let cache = PoolError::Create { name: "cache".to_owned(), errno: Errno::InvalidArgument };
    assert_eq!(make("cache", 63, ROOM, 60), Err(cache));
}

fn missing_driver_is_named(eal: &Eal) {
    let error = eal.hotplug_vdev("net_nonsense0", "").expect_err("no such driver");
    assert!(matches!(&error, EalError::NoDriver { name, .. } if name == "net_nonsense0"), "{error:?}");
    assert!(error.to_string().contains("apt install librte-meta-net"), "{error}");
    let error = eal.hotplug_vdev("net_pcap_refused", "rx_pcap=/nonexistent").expect_err("no such file");
    assert!(matches!(&error, EalError::Hotplug { arguments, .. } if arguments.contains("nonexistent")), "{error:?}");
    assert_eq!(Device::find(eal, "no such name"), Err(DeviceError::NoSuchName("no such name".to_owned())));
}

fn a_frame_passes(eal: &Eal) {
    let pool = pool(eal, "passes", 255);
    let (device, mut pair) = started(eal, "net_ring_passes", "", &pool);
    assert!(device.link().expect("link").up);
    assert_eq!((device.mtu(), device.mac()), (Ok(1500), Ok([0; 6])));
    assert!(!device.grants().tx_checksum && !device.grants().rx_checksum && !pair.completes_checksums());

    let mut frame = numbered(&mut pair, 7);
    frame.append(b"file bytes").expect("room for the payload");
    assert_eq!((frame.bytes().len(), pool.in_use()), (70, 1));
    let mut backlog = Backlog::new();
    backlog.push(frame);
    assert_eq!((pair.send(&mut backlog), backlog.len()), (1, 0));

    let mut burst = Burst::new();
    assert_eq!((pair.receive(&mut burst), burst.len()), (1, 1));
    assert_eq!(pair.receive(&mut burst), 0);
    let frame = burst.pop().expect("the frame");
    assert_eq!((number(&frame), &frame.bytes()[60..]), (7, &b"file bytes"[..]));
    assert!(frame.is_linear());
    assert_eq!(frame.received_checksums(), ReceivedChecksums::Unchecked);
    let PortStats { rx_packets, tx_packets, .. } = device.stats().expect("counters");
    assert_eq!((rx_packets, tx_packets), (1, 1));

    assert_eq!(pool.in_use(), 1);
    drop(frame);
    assert_eq!(pool.in_use(), 0);
}

fn a_full_ring_returns_the_unsent_in_order(eal: &Eal) {
    let pool = pool(eal, "full", 2047);
    let (device, mut pair) = started(eal, "net_ring_full", "", &pool);
    let mut next = 0..;
    let mut backlog = Backlog::new();
    let mut sent = 0;
    while backlog.is_empty() {
        for number in next.by_ref().take(200) {
            backlog.push(numbered(&mut pair, number));
        }
        sent += pair.send(&mut backlog);
    }
    assert_eq!(sent, RING_FRAMES);
    let expected: Vec<u32> = (1023..1200).collect();
    assert_eq!(backlog.iter().map(number).collect::<Vec<_>>(), expected, "the unsent, oldest first");
    assert_eq!(pair.send(&mut backlog), 0, "still full");
    assert_eq!(pool.in_use(), 1200);

    assert_eq!(receive_numbers(&mut pair), (0..1023).collect::<Vec<u32>>());
    assert_eq!((pair.send(&mut backlog), backlog.len()), (177, 0));
    assert_eq!(receive_numbers(&mut pair), expected);
    assert_eq!(pool.in_use(), 0);

    // What nobody fetched from the ring goes back to the pool when the port closes.
    for number in 0..100 {
        backlog.push(numbered(&mut pair, number));
    }
    assert_eq!(pair.send(&mut backlog), 100);
    drop(device);
    assert_eq!(pool.in_use(), 100, "the queue pair keeps the port open");
    drop(pair);
    assert_eq!(pool.in_use(), 0);
}

fn frames_end_at_the_buffers_end(eal: &Eal) {
    let pool = pool(eal, "ends", 63);
    let mut frame = pool.allocate().expect("a frame");
    assert_eq!(frame.bytes(), b"");
    frame.resize(100).expect("room");
    frame.bytes_mut().fill(0xaa);
    let room = usize::from(ROOM);
    let payload = vec![0x55; room];
    assert_eq!(frame.append(&payload[..room - 99]), Err(TooLong));
    assert_eq!(frame.bytes(), [0xaa; 100], "unchanged");
    frame.append(&payload[..room - 100]).expect("fits exactly");
    assert_eq!((frame.bytes().len(), frame.bytes()[room - 1]), (room, 0x55));
    assert_eq!(frame.append(&[0]), Err(TooLong));
    frame.append(&[]).expect("nothing always fits");
    assert_eq!(frame.resize(room + 1), Err(TooLong));
    assert_eq!(frame.resize(0x1_0000_0000 + 5), Err(TooLong));
    assert_eq!(frame.bytes().len(), room);
    frame.resize(0).expect("shorter");
    assert_eq!(frame.bytes(), b"");
}

fn an_empty_pool_is_ordinary(eal: &Eal) {
    let pool = Mempool::new(eal, "empties", 63, ROOM, 0, SocketId::ANY).expect("pool");
    let frames: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!((frames.len(), pool.available(), pool.in_use()), (63, 0, 63));
    assert!(pool.allocate().is_none());
    drop(frames);
    assert_eq!((pool.available(), pool.in_use()), (63, 0));
}

fn a_port_is_configured_once_and_within_its_limits(eal: &Eal) {
    let pool = pool(eal, "limits", 63);
    eal.hotplug_vdev("net_ring_limits", "").expect("device");
    let port = Device::find(eal, "net_ring_limits").expect("port");
    let info = Device::info(eal, port).expect("info");
    assert_eq!((info.name.as_str(), info.driver.as_str()), ("net_ring_limits", "net_ring"));
    assert_eq!((info.max_rx_queues, info.max_tx_queues), (16, 16));
    let configure = |config: DeviceConfig| {
        let pools = vec![Arc::clone(&pool); config.queue_pairs.into()];
        Device::configure(eal, port, &config, &pools)
    };
    let refused = |config| configure(config).map(|_| ()).expect_err("refused");

    for asked in [0, 17] {
        let error = refused(DeviceConfig { queue_pairs: asked, ..CONFIG });
        assert_eq!(error, DeviceError::QueuePairs { port, asked, max: 16 });
    }
    let error = refused(DeviceConfig { mtu: Some(20), ..CONFIG });
    assert_eq!(error, DeviceError::Mtu { port, asked: 20, min: info.min_mtu, max: info.max_mtu });
    let error = Device::configure(eal, port, &CONFIG, &[]).map(|_| ()).expect_err("no pool");
    assert_eq!(error, DeviceError::PoolCount { port, queue_pairs: 1, pools: 0 });

    let (device, pairs) = configure(DeviceConfig { queue_pairs: 3, mtu: Some(1400), ..CONFIG }).expect("fits");
    assert_eq!(pairs.iter().map(|pair| pair.queue().index()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(!device.grants().rss, "net_ring does not hash");
    assert_eq!(device.mtu(), Ok(1400));
    assert_eq!(refused(CONFIG), DeviceError::InUse(port));
    drop(device);
    assert_eq!(refused(CONFIG), DeviceError::InUse(port), "its queues are still there");
    drop(pairs);
    assert_eq!(refused(CONFIG), DeviceError::NoSuchPort(port), "closed");
}

fn grants_follow_what_the_device_can(eal: &Eal) {
    let pool = pool(eal, "grants", 63);
    let jumbo = DeviceConfig { queue_pairs: 2, mtu: Some(9000), ..CONFIG };
    let pools = [Arc::clone(&pool), pool];
    for name in ["net_ring_grants", "net_null_grants"] {
        eal.hotplug_vdev(name, "").expect("device");
    }
    // net_ring says that it chains and does not hash; net_null hashes and does not chain.
    let port = Device::find(eal, "net_ring_grants").expect("port");
    let (device, _) = Device::configure(eal, port, &jumbo, &pools).expect("fits into a chain");
    assert_eq!((device.grants().scatter, device.grants().rss, device.mtu()), (true, false, Ok(9000)));

    let port = Device::find(eal, "net_null_grants").expect("port");
    let error = Device::configure(eal, port, &jumbo, &pools).map(|_| ()).expect_err("does not fit");
    assert_eq!(error, DeviceError::RoomTooShort { port, frame: 9026, room: ROOM });
    let small = DeviceConfig { mtu: None, ..jumbo };
    let (device, _) = Device::configure(eal, port, &small, &pools).expect("fits, and the refusal left the port alone");
    assert_eq!((device.grants().scatter, device.grants().rss, device.mtu()), (false, true, Ok(1500)));
}

fn queues_may_be_polled_before_the_start(eal: &Eal) {
    let pool = pool(eal, "early", 63);
    eal.hotplug_vdev("net_ring_early", "").expect("device");
    let port = Device::find(eal, "net_ring_early").expect("port");
    let (mut device, mut pairs) = Device::configure(eal, port, &CONFIG, &[Arc::clone(&pool)]).expect("configuration");
    let pair = &mut pairs[0];
    let mut backlog = Backlog::new();
    backlog.push(numbered(pair, 1));
    assert_eq!((pair.send(&mut backlog), backlog.len()), (0, 1));
    assert_eq!(receive_numbers(pair), []);
    device.start().expect("start");
    assert_eq!(pair.send(&mut backlog), 1);
    assert_eq!(receive_numbers(pair), [1]);
}

fn split_queues_work_apart(eal: &Eal) {
    let pool = pool(eal, "split", 63);
    let (device, mut pair) = started(eal, "net_ring_split", "", &pool);
    let mut backlog = Backlog::new();
    backlog.push(numbered(&mut pair, 9));
    let (mut rx, mut tx) = pair.split();
    drop(device);
    assert_eq!(tx.send(&mut backlog), 1);
    drop(tx);
    let mut burst = Burst::new();
    assert_eq!(rx.receive(&mut burst), 1);
    drop(rx);
    assert_eq!(number(&burst[0]), 9, "a frame outlives its port");
    burst.clear();
    assert_eq!(pool.in_use(), 0);
}

fn net_null_gives_and_takes_bursts(eal: &Eal) {
    let pool = pool(eal, "null", 255);
    let (device, mut pair) = started(eal, "net_null0", "size=64", &pool);
    let mut burst = Burst::new();
    assert_eq!((pair.receive(&mut burst), pair.receive(&mut burst)), (32, 0), "a full burst has no place");
    assert!(burst.iter().all(|frame| frame.bytes().len() == 64));
    let mut backlog: Backlog<_> = burst.drain(..).collect();
    assert_eq!((pair.send(&mut backlog), pool.in_use()), (32, 0));

    burst.push(numbered(&mut pair, 5));
    assert_eq!((pair.receive(&mut burst), burst.len(), number(&burst[0])), (31, 32, 5), "adds behind what is there");
    drop((device, burst, pair));
    assert_eq!(pool.in_use(), 0);
}

/// `net_null` keeps what it is told about RSS, and begins with a table of zeros.
fn ports_tell_how_they_spread_frames(eal: &Eal) {
    let pools: Vec<_> = (0..3).map(|queue| pool(eal, &format!("spread-{queue}"), 63)).collect();
    let open = |name: &str, queues: u16| {
        eal.hotplug_vdev(name, "").expect("device");
        let port = Device::find(eal, name).expect("port");
        let config = DeviceConfig { queue_pairs: queues, ..CONFIG };
        let (mut device, pairs) =
            Device::configure(eal, port, &config, &pools[..usize::from(queues)]).expect("configuration");
        device.start().expect("start");
        (device, pairs)
    };
    let (mut device, _pairs) = open("net_null_spread", 3);
    let spread = device.rss_spread().expect("an RSS port");
    assert_eq!((spread.ipv4, spread.ipv6), (HashedFields::AddressesAndPorts, HashedFields::AddressesAndPorts));
    assert!(spread.key.len() >= 40 && spread.key.iter().any(|&byte| byte != 0), "{:?}", spread.key);
    assert!(spread.reta.len().is_power_of_two() && spread.reta.len() >= 64);
    for (entry, queue) in spread.reta.iter().enumerate() {
        assert_eq!(usize::from(queue.index()), entry % 3, "entry {entry}");
    }
    assert_eq!(device.rss_spread().as_ref(), Ok(&spread), "now it is as it should be");
    let workers = spread.reta.iter().map(|queue| WorkerIndex(queue.index())).collect();
    assert!(Steering::new(&spread.key, workers, 3, spread.ipv4, spread.ipv6).is_ok());

    let (mut device, _pairs) = open("net_null_narrow", 1);
    assert_eq!(device.rss_spread(), Err(RssError::Off));
    let (mut device, _pairs) = open("net_ring_spread", 1);
    assert_eq!(device.rss_spread(), Err(RssError::Off));
}

/// The pcap driver chains mbufs for a long frame whether it was asked to or not.
fn a_chained_frame_is_not_linear(eal: &Eal) {
    let file = std::env::temp_dir().join(format!("bypassd-chained-{}.pcap", std::process::id()));
    let mut capture = Vec::new();
    // pcap: magic, version 2.4, zone, accuracy, longest frame, Ethernet; then time, captured and real length, bytes.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1, 0, 0, 3000, 3000] {
        capture.extend_from_slice(&word.to_le_bytes());
    }
    capture.resize(capture.len() + 3000, 0x42);
    fs::write(&file, capture).expect("temporary file");

    let pool = pool(eal, "chained", 63);
    let (device, mut pair) = started(eal, "net_pcap0", &format!("rx_pcap={}", file.display()), &pool);
    let mut burst = Burst::new();
    assert_eq!(pair.receive(&mut burst), 1);
    fs::remove_file(&file).expect("still there");
    let frame = &mut burst[0];
    assert!(!frame.is_linear());
    assert_eq!(frame.bytes(), [0x42; ROOM as usize]);
    assert_eq!((frame.resize(10), frame.append(&[1]), frame.resize(0)), (Err(TooLong), Err(TooLong), Err(TooLong)));
    assert_eq!(pool.in_use(), 2);
    drop((burst, pair, device));
    assert_eq!(pool.in_use(), 0);
}

fn lcores_run_closures(eal: &Eal) {
    let worker = LcoreId::new(1);
    let pool = pool(eal, "lcore", 255);
    let (device, mut pair) = started(eal, "net_ring_lcore", "", &pool);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let echo = eal.launch(worker, move || {
        let mut echoed = 0;
        while !seen.load(Ordering::Relaxed) || echoed == 0 {
            let mut backlog = Backlog::new();
            backlog.push(numbered(&mut pair, 3));
            pair.send(&mut backlog);
            echoed += receive_numbers(&mut pair).len();
        }
        (pair, echoed)
    });
    let echo = echo.expect("launch");
    assert_eq!((echo.lcore(), echo.is_finished()), (worker, false));
    assert_eq!(eal.launch(worker, || ()).map(|_| ()), Err(LaunchError::Busy(worker)));
    for other in [eal.main_lcore(), LcoreId::new(9999)] {
        assert_eq!(eal.launch(other, || ()).map(|_| ()), Err(LaunchError::NotAWorker(other)));
    }
    stop.store(true, Ordering::Relaxed);
    let (pair, echoed) = echo.join().expect("no panic");
    assert!(echoed > 0);
    drop((pair, device));
    assert_eq!(pool.in_use(), 0, "what the lcore's cache holds counts as being in the pool");
}

fn a_panic_on_an_lcore_is_reported(eal: &Eal) {
    let worker = LcoreId::new(1);
    let pool = pool(eal, "panics", 63);
    let held = pool.allocate().expect("a frame");
    let number = 42;
    let handle = eal.launch(worker, move || -> u32 {
        let _held = held;
        panic!("frame {number} is broken");
    });
    let panic = handle.expect("launch").join().expect_err("panicked");
    assert_eq!((panic.lcore, panic.message.as_str()), (worker, "frame 42 is broken"));
    assert_eq!(panic.to_string(), "the worker on lcore 1 panicked: frame 42 is broken");
    assert_eq!(pool.in_use(), 0, "unwinding gave the frame back");

    let handle = eal.launch(worker, || "alive").expect("launch");
    while !handle.is_finished() {
        sleep(Duration::from_millis(1));
    }
    assert_eq!(handle.join(), Ok("alive"));
}
