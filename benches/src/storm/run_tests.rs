//! The loop against a scripted server on a port without a network, in simulated time.

use dataplane::port::memory::{MemoryPool, MemoryPort};
use dataplane::random::Seed;
use dataplane::wire::{MacAddr, parse};

use super::super::arrivals::Process;
use super::super::link::Loss;
use super::super::population::Population;
use super::super::wire;
use super::*;

const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// What the server does with a packet of a client: payload in, payloads out.
type Script<'a> = &'a mut dyn FnMut(Instant, &[u8]) -> Vec<Vec<u8>>;

struct Lab {
    generator: Generator<MemoryPort>,
    now: Instant,
}

impl Lab {
    fn new(clients: u32, load: Load, verify: Option<&std::path::Path>, loss: f64) -> Self {
        let population = Population::new("10.0.0.2".parse().unwrap(), clients, "10.0.0.1".parse().unwrap()).unwrap();
        let random = |stream| Random::new(Seed([1; 16]), stream);
        let port = MemoryPort::new(MemoryPool::new(1_000, 2_048), 64);
        let mut link = Link::new(port, population, Loss::new(loss, random(1)));
        link.set_server_mac(SERVER_MAC);
        let content = Content::new(&["f".parse().unwrap()], &Asked::default(), verify).unwrap();
        let plan = Plan {
            asked: Asked::default(),
            load,
            duration: Duration::from_secs(2),
            grace: Duration::from_secs(30),
            retransmit: Duration::from_millis(50),
            tries: 6,
            server_port: 69,
            random: random(2),
        };
        let generator = Generator::new(link, plan, content, Box::new(Snapshot::new().unwrap()));
        Self { generator, now: Instant::ORIGIN }
    }

    fn open(clients: u32, rate: f64) -> Self {
        let arrivals = Arrivals::new(Process::Uniform, rate, 1, Random::new(Seed([1; 16]), 0));
        Self::new(clients, Load::Open(arrivals), None, 0.0)
    }

    /// Steps of 100 microseconds until all is over.
    fn run(&mut self, script: Script<'_>) -> Snapshot {
        while self.generator.step(self.now) {
            self.serve(script);
            self.now = self.now + Duration::from_micros(100);
            assert!(self.now.micros() < 100_000_000, "it does not end");
        }
        assert_eq!(self.generator.link.port_mut().pool().in_use(), self.leftover(), "every buffer came back");
        let transfers = self.generator.sheet.counts.transfers;
        assert_eq!(transfers.started, transfers.done + transfers.failed + transfers.unfinished);
        assert_eq!(self.generator.sheet.live, 0);
        (*self.generator.sheet).clone()
    }

    fn leftover(&mut self) -> usize {
        let mut left = Vec::new();
        while let Some(frame) = self.generator.link.port_mut().take_sent() {
            left.push(frame);
        }
        left.len()
    }

    fn serve(&mut self, script: Script<'_>) {
        while let Some(frame) = self.generator.link.port_mut().take_sent() {
            let parsed = parse(frame.bytes(), dataplane::wire::Checks::VERIFY).unwrap();
            assert_eq!(parsed.link.dst, SERVER_MAC);
            let Packet::Udp { flow, payload } = parsed.packet else { panic!("{parsed:?}") };
            let client = self.generator.link.population().find(flow.addresses.src()).unwrap();
            assert_eq!(parsed.link.src, self.generator.link.population().mac(client), "each has its own MAC");
            for reply in script(self.now, &frame.bytes()[payload.range()]) {
                let flow = Flow { addresses: flow.addresses.reversed(), src_port: 7_000, dst_port: flow.src_port };
                let mut bytes = vec![0; wire::udp_frame_len(&flow.addresses, &reply)];
                let stations = wire::Link { src: SERVER_MAC, dst: parsed.link.src };
                wire::emit_udp(stations, &flow, &reply, &mut bytes).unwrap();
                assert!(self.generator.link.port_mut().deliver(&bytes));
            }
        }
    }
}

fn block(number: u16, payload: &[u8]) -> Vec<u8> {
    [&[0, 3], &number.to_be_bytes()[..], payload].concat()
}

/// Serves 600 bytes in two blocks.
fn honest(_: Instant, packet: &[u8]) -> Vec<Vec<u8>> {
    match packet {
        [0, 1, ..] => vec![block(1, &[5; 512])],
        [0, 4, 0, 1] => vec![block(2, &[5; 88])],
        _ => vec![],
    }
}

#[test]
fn every_transfer_that_is_due_is_done() {
    let sheet = Lab::open(50, 500.0).run(&mut honest);
    let transfers = sheet.counts.transfers;
    assert_eq!((transfers.started, transfers.done, transfers.mismatched, transfers.started_late), (1_000, 1_000, 0, 0));
    assert_eq!((sheet.counts.packets.blocks, sheet.counts.packets.bytes), (2_000, 600_000));
    assert_eq!((sheet.latencies.first_data.len(), sheet.latencies.transfer.len()), (1_000, 1_000));
    assert!(sheet.latencies.transfer.max() <= 400, "{}", sheet.latencies.transfer.max());
}

#[test]
fn a_server_that_stalls_cannot_hide_it() {
    // For a second it answers nothing, and then all at once. Two clients are all there are, so the load cannot go on meanwhile:
    // measured from the actual start, two transfers would have been slow.
    let stall = 500_000..1_500_000;
    let mut kept = Vec::new();
    let mut lab = Lab::open(2, 500.0);
    lab.generator.plan.retransmit = Duration::from_secs(10);
    let sheet = lab.run(&mut |now, packet| {
        if stall.contains(&now.micros()) {
            kept.push(packet.to_vec());
            return vec![];
        }
        honest(now, packet)
    });
    // Those two wait for their timers; nothing else is served by them until then.
    assert!(sheet.counts.transfers.started < 1_000);
    assert_eq!(sheet.counts.transfers.started + sheet.counts.transfers.not_started, 1_000);

    let mut lab = Lab::open(2, 500.0);
    lab.generator.plan.retransmit = Duration::from_millis(1_000);
    let sheet = lab.run(&mut |now, packet| if stall.contains(&now.micros()) { vec![] } else { honest(now, packet) });
    let transfers = sheet.counts.transfers;
    assert_eq!((transfers.started, transfers.done), (1_000, 1_000));
    assert!(transfers.started_late > 400 && transfers.waited_for_client > 400, "{transfers:?}");
    // A quarter of a second at least for the upper half of those that were due in the second of silence.
    assert!(
        sheet.latencies.transfer.value_at_quantile(0.7) > 250_000,
        "{}",
        sheet.latencies.transfer.value_at_quantile(0.7)
    );
}

#[test]
fn with_loss_all_is_done_all_the_same() {
    let arrivals = Arrivals::new(Process::Poisson, 300.0, 1, Random::new(Seed([1; 16]), 0));
    let sheet = Lab::new(200, Load::Open(arrivals), None, 10.0).run(&mut honest);
    let Snapshot { counts, .. } = sheet;
    assert_eq!(counts.transfers.done, counts.transfers.started);
    assert!(counts.packets.requests_resent > 20 && counts.packets.acks_resent > 20, "{counts:?}");
    let share = counts.frames.lost_sent as f64 / (counts.frames.lost_sent + counts.frames.sent) as f64;
    assert!((share - 0.1).abs() < 0.03, "{share}");
    assert!(counts.frames.lost_received > 0);
}

#[test]
fn one_flipped_byte_in_one_transfer_is_found() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("f"), [5; 600]).unwrap();
    for verify in [Some(root.path()), None] {
        let arrivals = Arrivals::new(Process::Uniform, 100.0, 1, Random::new(Seed([1; 16]), 0));
        let mut lab = Lab::new(10, Load::Open(arrivals), verify, 0.0);
        let mut second_blocks = 0;
        let sheet = lab.run(&mut |now, packet| {
            let mut replies = honest(now, packet);
            if packet == [0, 4, 0, 1] {
                second_blocks += 1;
                if second_blocks == 77 {
                    replies[0][4 + 30] ^= 1;
                }
            }
            replies
        });
        assert_eq!((sheet.counts.transfers.done, sheet.counts.transfers.mismatched), (200, 1));
        let difference = lab.generator.difference().unwrap();
        assert_eq!(difference.offset, verify.map(|_| 512));
    }
}

#[test]
fn failures_are_counted_by_cause() {
    let sheet = Lab::open(50, 100.0).run(&mut |_, _| vec![b"\0\x05\0\x01no\0".to_vec()]);
    assert_eq!((sheet.counts.transfers.failed, sheet.counts.failures.server_error[1]), (200, 200));
    let sheet = Lab::open(500, 100.0).run(&mut |_, _| vec![]);
    assert_eq!(sheet.counts.failures.no_answer, 200);
    assert_eq!(sheet.counts.packets.requests, 7 * 200);
}

#[test]
fn a_closed_loop_keeps_all_clients_busy_and_lets_them_think() {
    let run = |think| Lab::new(10, Load::Closed { think: Duration::from_millis(think) }, None, 0.0).run(&mut honest);
    // Every transfer takes 200 microseconds, and then 100 ms of thought: 20 rounds in 2 seconds.
    let done = run(100).counts.transfers.done;
    assert!((190..=200).contains(&done), "{done}");
    assert!(run(0).counts.transfers.done > 50_000);
}

#[test]
fn what_still_runs_at_the_end_is_told_so() {
    let mut lab = Lab::open(50, 100.0);
    lab.generator.plan.grace = Duration::from_secs(1);
    lab.generator.plan.retransmit = Duration::from_secs(5);
    let mut aborted = 0;
    let sheet = lab.run(&mut |_, packet| match packet {
        [0, 1, ..] => vec![block(1, &[5; 512])],
        _ => vec![],
    });
    while let Some(frame) = lab.generator.link.port_mut().take_sent() {
        aborted += usize::from(frame.bytes()[42..44] == [0, 5]);
    }
    assert_eq!(sheet.counts.transfers.unfinished, 50);
    assert_eq!(sheet.counts.packets.errors, 50);
    assert!(aborted <= 50);
}

#[test]
fn every_client_answers_for_its_own_address_and_nobody_elses() {
    use dataplane::wire::{EtherType, arp, ethernet};
    let mut lab = Lab::open(300, 1.0);
    for (target, answered) in [("10.0.0.2", true), ("10.0.1.45", true), ("10.0.1.46", false), ("10.0.0.1", false)] {
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: SERVER_MAC,
            sender_ip: "10.0.0.1".parse().unwrap(),
            target_mac: MacAddr::default(),
            target_ip: target.parse().unwrap(),
        };
        let mut frame = [0; 60];
        let link =
            ethernet::Header { dst: MacAddr::BROADCAST, src: SERVER_MAC, vlan: None, ether_type: EtherType::ARP };
        link.emit(&mut frame).unwrap();
        request.emit(&mut frame[14..]).unwrap();
        lab.leftover();
        assert!(lab.generator.link.port_mut().deliver(&frame));
        lab.generator.step(Instant::ORIGIN);
        let mut replies = Vec::new();
        while let Some(frame) = lab.generator.link.port_mut().take_sent() {
            if let Packet::Arp(reply) = parse(frame.bytes(), dataplane::wire::Checks::VERIFY).unwrap().packet {
                replies.push(reply);
            }
        }
        let client = lab.generator.link.population().find(request.target_ip.into());
        let expected = client.map(|client| request.reply(lab.generator.link.population().mac(client)));
        assert_eq!((replies.first().copied(), replies.len()), (expected, usize::from(answered)), "{target}");
    }
}
