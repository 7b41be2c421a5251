//! Files that are loaded on demand, as one worker serves them: a request waits for its file without a frame buffer, is answered once when
//! it comes, and every frame is accounted for.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a panic is how a test fails")]

mod lab;

use dataplane::engine::{Outcome, SessionState, Shelfmark, Unavailable};
use dataplane::files::{CatalogueBuilder, Denied, GenerationId, NameOptions};
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::time::Instant;
use dataplane::worker::{
    DrainFlag, Lane, LaneCounters, Letter, LetterBox, Neighbourhood, Pace, Shelving, StopFlag, Unshelving, Worker,
    WorkerStatus, mailbox,
};
use lab::client::{Client, Habits};
use lab::frames::Host;
use lab::hand::{Peer, Reply, Said};
use lab::library::{Branch, Librarian, WANTS, partial, volume};
use lab::network::{Link, Network, Station};
use lab::{Bench, Setup, content, engine};
use std::sync::Arc;

type Files = Vec<(&'static str, Vec<u8>)>;

fn present() -> Files {
    vec![("here", content(1_000, 1))]
}

fn absent() -> Files {
    vec![("far", content(5_000, 2)), ("text", b"a\nb\r\n".repeat(300)), ("other", content(700, 3))]
}

fn bench_with(setup: &Setup) -> (Bench, Librarian) {
    let catalogue = partial(1, &present(), &absent());
    let mut bench = Bench::new(setup, Arc::clone(&catalogue));
    let librarian = Librarian::new(bench.lane.engine_mut(), &catalogue, &absent(), 4);
    bench.poll();
    (bench, librarian)
}

fn bench() -> (Bench, Librarian) {
    bench_with(&Setup::default())
}

fn replies(bench: &mut Bench) -> Vec<Reply> {
    bench.pass(1, 3)
}

/// Acknowledges block after block; returns the bytes.
fn read(bench: &mut Bench, peer: &Peer, mut reply: Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let Said::Data { block, bytes: more } = &reply.said else { panic!("{reply:?}") };
        bytes.extend_from_slice(more);
        let ack = peer.ack(reply.tid(), *block);
        if more.len() < 512 {
            bench.expect_silence(&ack, Outcome::AckFinished);
            return bytes;
        }
        reply = bench.expect(&ack, Outcome::AckProgress).remove(0);
    }
}

#[test]
fn a_request_waits_for_its_file_and_is_answered_when_it_comes() {
    let (mut bench, mut librarian) = bench();
    let peer = Peer::v4(2, 3_000);
    bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    assert_eq!(bench.pool.in_use(), 0, "no buffer waits");
    let title = librarian.title("far");
    assert_eq!(librarian.asked(), [title]);
    assert_eq!(replies(&mut bench).len(), 0);
    assert!(librarian.bring(bench.lane.engine_mut(), title));
    let mut sent = replies(&mut bench);
    assert_eq!(sent.len(), 1, "one reply to one request");
    let view = peer.session(&bench).unwrap();
    assert_eq!((view.file, view.generation), (title.file, Some(GenerationId(1))), "as control knows it");
    assert_eq!(view.stream_bytes, Some(5_000));
    assert_eq!(read(&mut bench, &peer, sent.remove(0)), absent()[0].1);
    assert_eq!((bench.counters.cache_misses.get(), bench.counters.parked_answered.get()), (1, 1));
    assert_eq!(bench.count(Outcome::RequestOpened), 0, "the frame of the request had its outcome before");

    // Now it is there.
    let second = Peer::v6(3, 3_000);
    let (_, said) = second.open(&mut bench, "far", &[]);
    assert_eq!(said, Said::Data { block: 1, bytes: absent()[0].1[..512].to_vec() });
    assert_eq!((bench.counters.cache_hits.get(), bench.counters.cache_misses.get()), (2, 1));
    assert_eq!(librarian.usage.of(Shelfmark(0)).unwrap().requests(), 2);
    bench.assert_accounted();
}

#[test]
fn what_is_in_the_catalogue_is_served_as_ever() {
    let (mut bench, librarian) = bench();
    let (_, said) = Peer::v4(2, 3_000).open(&mut bench, "here", &[]);
    assert!(matches!(said, Said::Data { block: 1, .. }));
    assert!(librarian.asked().is_empty());
    assert_eq!((bench.counters.cache_hits.get(), bench.counters.cache_misses.get()), (0, 0));
}

#[test]
fn options_netascii_tags_and_kept_sums_work_through_a_shelf() {
    let (mut bench, mut librarian) = bench();
    let mut tagged = Peer::v6(4, 3_000);
    tagged.host.vlan = Some(0xA00A);
    let request = tagged.request("far", &[("blksize", "1428"), ("tsize", "0")]);
    bench.expect_silence(&request, Outcome::RequestParked);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    let sent = replies(&mut bench);
    assert_eq!(sent[0].said, Said::Oack("blksize 1428 tsize 5000 ".to_owned()));
    assert_eq!(sent[0].link.vlan.map(|tag| tag.0), Some(0xA00A));
    // Reply::read checks the UDP checksum, which is made of the kept sum.
    let data = bench.expect(&tagged.ack(sent[0].tid(), 0), Outcome::AckProgress);
    assert_eq!(data[0].said, Said::Data { block: 1, bytes: absent()[0].1[..1428].to_vec() });

    let text = Peer::v4(2, 3_001);
    let request = text.to(69, &lab::client::read_request("text", "netascii", &[]));
    bench.expect_silence(&request, Outcome::RequestParked);
    librarian.bring(bench.lane.engine_mut(), librarian.title("text"));
    let sent = replies(&mut bench);
    assert_eq!(text.session(&bench).unwrap().stream_bytes, Some(300 * 8), "LF and CR are two bytes each");
    let Said::Data { block: 1, bytes } = &sent[0].said else { panic!("{sent:?}") };
    assert_eq!(bytes[..8], *b"a\r\nb\r\0\r\n");
}

#[test]
fn repeats_of_a_waiting_request_double_nothing() {
    let (mut bench, mut librarian) = bench();
    let (peer, second) = (Peer::v4(2, 3_000), Peer::v4(2, 3_001));
    for _ in 0..5 {
        bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    }
    bench.expect_silence(&second.request("far", &[]), Outcome::RequestParked);
    assert_eq!(librarian.asked().len(), 1, "others join");
    assert_eq!(bench.lane.engine().parked_requests(), 2);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    assert_eq!(replies(&mut bench).len(), 2);
    assert_eq!((bench.counters.opened.get(), bench.live_sessions()), (2, 2));
    assert_eq!(bench.counters.parked_lost.get(), 0, "a repeat stands for the request");
    assert_eq!(librarian.usage.of(Shelfmark(0)).unwrap().readers(), 2);
}

#[test]
fn a_client_that_wants_something_else_waits_no_longer() {
    let (mut bench, mut librarian) = bench();
    let peer = Peer::v4(2, 3_000);
    bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    peer.open(&mut bench, "here", &[]);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    assert_eq!(replies(&mut bench).len(), 0);
    bench.expect_silence(&Peer::v4(3, 1).request("other", &[]), Outcome::RequestParked);
    bench.expect_error(&Peer::v4(3, 1).request("missing", &[]), Outcome::RequestRefused, 1);
    assert_eq!(bench.lane.engine().parked_requests(), 0);
}

#[test]
fn a_place_that_is_read_is_not_given_back() {
    let (mut bench, mut librarian) = bench();
    let peer = Peer::v4(2, 3_000);
    bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    let sent = replies(&mut bench);
    assert!(!librarian.evict(bench.lane.engine_mut(), 0), "a transfer reads it");
    assert_eq!(read(&mut bench, &peer, sent[0].clone()), absent()[0].1);
    assert_eq!(peer.state(&bench), Some(SessionState::Lingering));
    assert!(librarian.evict(bench.lane.engine_mut(), 0), "a lingering session reads no more");
    assert_eq!(peer.session(&bench).unwrap().generation, None);
    bench.expect_silence(&Peer::v4(3, 1).request("far", &[]), Outcome::RequestParked);
    assert_eq!(bench.counters.cache_misses.get(), 2);
    assert_eq!(librarian.usage.of(Shelfmark(0)).unwrap().readers(), 0);
}

#[test]
fn a_place_that_another_file_has_taken_is_no_hit() {
    let (mut bench, mut librarian) = bench();
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    assert!(librarian.evict(bench.lane.engine_mut(), 0));
    // The worker's own shelf decides, whatever the catalogue's hint says.
    librarian.bring(bench.lane.engine_mut(), librarian.title("other"));
    librarian.catalogue.set_shelfmark(librarian.title("far").file, Some(0));
    bench.expect_silence(&Peer::v4(2, 3_000).request("far", &[]), Outcome::RequestParked);
    let (_, said) = Peer::v4(2, 3_001).open(&mut bench, "other", &[]);
    assert_eq!(said, Said::Data { block: 1, bytes: absent()[2].1[..512].to_vec() });
}

#[test]
fn who_waits_in_vain_is_told_why() {
    for (why, code, text) in [
        (Unavailable::Changed, 0, "file has changed: not available now"),
        (Unavailable::Vanished, 1, "file is gone: not available"),
        (Unavailable::Failed, 0, "file is not available now"),
    ] {
        let (mut bench, librarian) = bench();
        let peer = Peer::v4(2, 3_000);
        bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
        bench.lane.engine_mut().refuse_waiting(librarian.title("other"), why);
        assert_eq!(replies(&mut bench).len(), 0, "another file");
        bench.lane.engine_mut().refuse_waiting(librarian.title("far"), why);
        let sent = replies(&mut bench);
        assert_eq!(sent[0].said, Said::Error { code, text: text.to_owned() });
        assert_eq!((sent.len(), bench.counters.parked_answered.get()), (1, 1));
        bench.assert_accounted();
    }
}

#[test]
fn where_nobody_loads_files_an_absent_one_is_refused() {
    let mut bench = Bench::new(&Setup::default(), partial(1, &present(), &absent()));
    bench.expect_error(&Peer::v4(2, 3_000).request("far", &[]), Outcome::RequestRefused, 0);
}

#[test]
fn a_file_larger_than_the_budget_is_refused_at_once() {
    let mut builder = CatalogueBuilder::new(GenerationId(1), NameOptions::default(), 0, false).unwrap();
    builder.deny(b"huge", Denied::TooLarge).unwrap();
    let mut bench = Bench::new(&Setup::default(), Arc::new(builder.finish().unwrap()));
    let reply = bench.expect_error(&Peer::v4(2, 3_000).request("huge", &[]), Outcome::RequestRefused, 2);
    assert_eq!(reply.said, Said::Error { code: 2, text: "file larger than the cache budget".to_owned() });
}

#[test]
fn wants_that_do_not_fit_are_counted_and_said_again() {
    let (mut bench, librarian) = bench();
    (0..WANTS).for_each(|_| librarian.wants.push(librarian.title("text")).unwrap());
    let peer = Peer::v4(2, 3_000);
    bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    assert_eq!(bench.counters.wants_lost.get(), 1);
    librarian.asked();
    bench.pass(10, 1_500);
    bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    assert_eq!(librarian.asked(), [librarian.title("far")], "the client's repeat asked again");
}

#[test]
fn only_so_many_wait_and_the_oldest_goes_first() {
    let (mut bench, mut librarian) = bench();
    for number in 0..600_u16 {
        bench.deliver(&Peer::v4(2, 3_000 + number).request("far", &[]));
        assert!(bench.pass(1, 1).is_empty());
    }
    assert_eq!(bench.lane.engine().parked_requests(), 512);
    assert_eq!((bench.count(Outcome::RequestParked), bench.counters.parked_lost.get()), (600, 88));
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    let sent = bench.pass(1, 200);
    // The cap on unacknowledged sessions of one address holds for them as for everybody.
    let ports: Vec<u16> = sent.iter().map(|reply| reply.flow.dst_port).collect();
    assert_eq!(ports, (3_088..3_088 + 256).collect::<Vec<_>>(), "who came first is served first");
    assert_eq!(bench.counters.parked_lost.get(), 88 + 256);
    bench.assert_accounted();
}

#[test]
fn a_request_too_long_to_keep_is_answered_on_its_repeat() {
    let (mut bench, mut librarian) = bench();
    let peer = Peer::v4(2, 3_000);
    let filler = "x".repeat(400);
    let request = peer.request("far", &[(&filler, "1"), (&filler, "2")]);
    bench.expect_silence(&request, Outcome::NotParked);
    assert_eq!(librarian.asked(), [librarian.title("far")]);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    assert_eq!(replies(&mut bench).len(), 0);
    assert_eq!(bench.expect(&request, Outcome::RequestOpened).len(), 1);
}

#[test]
fn an_empty_pool_delays_the_answer() {
    let (mut bench, mut librarian) = bench_with(&Setup { pool_frames: 8, ..Setup::default() });
    let peer = Peer::v4(2, 3_000);
    bench.expect_silence(&peer.request("far", &[]), Outcome::RequestParked);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    let all: Vec<_> = core::iter::from_fn(|| bench.pool.frame(&[])).collect();
    assert_eq!(replies(&mut bench).len(), 0);
    assert!(bench.counters.pool_empty.get() > 0);
    drop(all);
    assert_eq!(replies(&mut bench).len(), 1, "nobody was forgotten");
}

#[test]
fn who_has_waited_for_long_has_gone() {
    let (mut bench, mut librarian) = bench();
    bench.expect_silence(&Peer::v4(2, 3_000).request("far", &[]), Outcome::RequestParked);
    bench.pass(100, 11_000);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    assert_eq!(replies(&mut bench).len(), 0);
    assert_eq!((bench.counters.parked_lost.get(), bench.live_sessions()), (1, 0));
}

#[test]
fn draining_answers_nobody_who_waits() {
    let (mut bench, mut librarian) = bench();
    bench.expect_silence(&Peer::v4(2, 3_000).request("far", &[]), Outcome::RequestParked);
    bench.lane.engine_mut().set_draining(true);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    assert_eq!(replies(&mut bench).len(), 0);
    assert_eq!(bench.counters.parked_lost.get(), 1);
}

#[test]
fn a_new_catalogue_answers_those_who_wait_and_lets_transfers_finish() {
    let (mut bench, mut librarian) = bench();
    let (reader, waiting) = (Peer::v4(2, 3_000), Peer::v4(3, 3_000));
    bench.expect_silence(&reader.request("far", &[]), Outcome::RequestParked);
    librarian.bring(bench.lane.engine_mut(), librarian.title("far"));
    let first = replies(&mut bench).remove(0);
    bench.expect_silence(&waiting.request("other", &[]), Outcome::RequestParked);

    let newer = content(900, 77);
    bench.lane.install(partial(2, &[("other", newer.clone())], &[("far", content(10, 1))])).unwrap();
    assert!(bench.lane.take_unread_catalogue().is_some(), "a volume needs no catalogue");
    let sent = replies(&mut bench);
    assert_eq!(sent[0].said, Said::Data { block: 1, bytes: newer[..512].to_vec() });
    bench.expect_silence(&Peer::v4(4, 1).request("far", &[]), Outcome::RequestParked);
    assert_eq!(librarian.asked().last().unwrap().generation, GenerationId(2), "the new one's file, not the old one's");
    assert_eq!(read(&mut bench, &reader, first), absent()[0].1, "a transfer keeps what it began with");
    assert!(librarian.evict(bench.lane.engine_mut(), 0));
}

/// A worker of two lanes, and the way to it.
fn worker(catalogue: &Arc<dataplane::files::Catalogue>) -> (Worker<dataplane::port::memory::MemoryPort>, LetterBox) {
    let lanes = (0..2)
        .map(|_| {
            let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
            let mut engine = engine(&Setup::default(), Arc::clone(catalogue), share);
            Librarian::new(&mut engine, catalogue, &absent(), 4);
            let pool = dataplane::port::memory::MemoryPool::new(100, 1_518);
            let port = dataplane::port::memory::MemoryPort::new(pool, 64);
            Lane::new(engine, port, share.index, Neighbourhood::alone(), Arc::new(LaneCounters::default()))
        })
        .collect();
    let (letters, mailbox) = mailbox();
    let worker = Worker {
        lanes,
        mailbox,
        drain: DrainFlag::new(),
        stop: StopFlag::new(),
        status: Arc::new(WorkerStatus::default()),
        idle_sleep: None,
    };
    (worker, letters)
}

#[test]
fn letters_bring_files_to_all_lanes_and_take_only_what_none_of_them_reads() {
    let catalogue = partial(1, &present(), &absent());
    let (mut worker, letters) = worker(&catalogue);
    let mut pace = Pace::default();
    let mut at_ms = 0;
    let mut turn = |worker: &mut Worker<_>| {
        at_ms += 1;
        worker.turn(Instant::from_micros(at_ms * 1_000), &mut pace);
    };
    turn(&mut worker);
    let title =
        |name| dataplane::engine::Title { generation: GenerationId(1), file: lab::library::file(&catalogue, name) };
    let peer = Peer::v4(2, 3_000);
    worker.lanes[1].port_mut().deliver(&peer.request("far", &[]));
    turn(&mut worker);
    assert_eq!(worker.lanes[1].engine().parked_requests(), 1);
    catalogue.set_shelfmark(title("far").file, Some(0));
    let held = volume(&absent()[0].1);
    let shelving = |mark, name, volume: &Arc<_>| {
        Letter::Shelve(Shelving { mark: Shelfmark(mark), title: title(name), volume: Arc::clone(volume) })
    };
    letters.send(shelving(0, "far", &held)).unwrap();
    let other = volume(&absent()[2].1);
    letters.send(shelving(1, "other", &other)).unwrap();
    turn(&mut worker);
    assert_eq!(Arc::strong_count(&held), 3, "ours and one per lane");
    turn(&mut worker);
    assert_eq!(worker.lanes[1].engine().active_sessions(), 1);

    let (unshelving, answered) = Unshelving::ask(vec![Shelfmark(0), Shelfmark(1)]);
    letters.send(Letter::Unshelve(unshelving)).unwrap();
    turn(&mut worker);
    assert_eq!(answered.try_recv().unwrap().marks, [Shelfmark(1)], "the first is being read");
    assert_eq!((Arc::strong_count(&held), Arc::strong_count(&other)), (3, 1));

    worker.lanes[0].port_mut().deliver(&peer.request("text", &[]));
    turn(&mut worker);
    letters.send(Letter::NotAvailable(title("text"), Unavailable::Vanished)).unwrap();
    turn(&mut worker);
    turn(&mut worker);
    let frame = core::iter::from_fn(|| worker.lanes[0].port_mut().take_sent()).last().unwrap();
    assert!(Reply::read(dataplane::port::Frame::bytes(&frame)).is_error(1));
}

#[test]
fn many_clients_read_many_files_through_two_places() {
    for seed in 0..40 {
        let names = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"];
        let files: Files =
            names.iter().map(|&name| (name, content(3_000 + name.len() * 977, name.as_bytes()[1]))).collect();
        let mut setup = Setup { fault_seed: seed, pool_frames: 64, ring_len: 24, ..Setup::default() };
        setup.faults.loss = 20;
        setup.faults.duplication = 20;
        setup.faults.short_pool = 20;
        let catalogue = partial(1, &present(), &files);
        let mut bench = Bench::new(&setup, Arc::clone(&catalogue));
        let librarian = Librarian::new(bench.lane.engine_mut(), &catalogue, &files, 2);
        let branch = Branch::new(bench, librarian, seed, 40);
        let clients = (0..32_u8)
            .map(|number| {
                let host = if number % 2 == 0 { Host::v4(2 + number) } else { Host::v6(2 + number) };
                let options: &[(&str, &str)] =
                    if number % 3 == 0 { &[] } else { &[("blksize", "1428"), ("tsize", "0")] };
                let name = names[usize::from(number) % names.len()];
                Client::new(host, 2_000 + u16::from(number), name, "octet", options, Habits::default())
            })
            .collect();
        let mut network = Network::new(branch, clients, Link { loss: 10, ..Link::default() }, seed);
        network.run(300, &format!("seed {seed}"));
        for (number, client) in network.clients.iter().enumerate() {
            assert_eq!(client.outcome, Some(Ok(())), "seed {seed}, client {number}");
            assert!(client.received == files[number % names.len()].1, "seed {seed}, client {number}");
        }
        let Branch { mut bench, mut librarian, .. } = network.bench;
        assert!(librarian.evictions >= 6, "eight files went through two places");
        let counters = &bench.counters;
        assert!(counters.cache_misses.get() >= 8 && counters.opened.get() == counters.cache_hits.get());
        bench.lane.port_mut().heal();
        bench.pass_ms(120_000);
        assert_eq!((bench.live_sessions(), bench.pool.in_use()), (0, 0), "seed {seed}: left behind");
        bench.assert_accounted();
        (0..2).for_each(|at| assert!(librarian.shelf[at].is_none() || librarian.evict(bench.lane.engine_mut(), at)));
    }
}

#[test]
fn a_branch_is_a_station() {
    let (bench, librarian) = bench();
    let mut branch = Branch::new(bench, librarian, 1, 0);
    branch.fail = 1_000;
    branch.deliver(&Peer::v4(2, 3_000).request("far", &[]));
    branch.set_now(Instant::from_micros(1_000));
    branch.poll();
    branch.poll();
    assert_eq!(branch.bench.counters.parked_answered.get(), 1, "an ERROR");
}
