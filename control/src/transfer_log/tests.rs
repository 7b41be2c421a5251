use std::sync::Mutex;

use dataplane::engine::Ending;
use dataplane::tftp::ErrorCode;
use dataplane::worker::{Cut, Ended, Record};

use super::*;

fn record(name: &[u8], what: What) -> Record {
    Record {
        client: ("10.0.0.2".parse().unwrap(), 2_000),
        server: "10.0.0.1".parse().unwrap(),
        name: Cut::new(name, name.len()),
        what,
    }
}

fn ended(ending: Ending, error: Option<(u16, &[u8])>) -> What {
    What::Ended(Ended {
        ending,
        tid: 40_000,
        bytes: 700,
        stream_bytes: 700,
        duration_us: 1_234,
        blocks_again: 1,
        timeouts: 2,
        blksize: 512,
        window: 4,
        netascii: false,
        error: error.map(|(code, text)| (code, Cut::new(text, text.len()))),
    })
}

const REFUSED: What = What::Refused { code: ErrorCode::FileNotFound, reason: "file not found", is_write: false };

struct Desk {
    clerk: Clerk,
    counters: Arc<LaneCounters>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    fn new(refusals_per_second: u32) -> Self {
        let counters = Arc::new(LaneCounters::with_records(64));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sources = vec![
            Source { worker: 0, counters: Arc::new(LaneCounters::default()) },
            Source { worker: 3, counters: Arc::clone(&counters) },
        ];
        let mut clerk = Clerk::new(Output::Lines(Arc::clone(&lines)), refusals_per_second);
        clerk.sources = sources;
        Self { clerk, counters, lines }
    }

    fn put(&self, record: Record) {
        self.counters.records.as_ref().unwrap().push_with(|| record);
    }

    fn written(&self) -> Vec<serde_json::Value> {
        std::mem::take(&mut *self.lines.lock().unwrap())
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn a_line_has_the_facts_of_its_transfer_and_nothing_that_does_not_apply() {
    let mut desk = Desk::new(10);
    desk.put(record(b"boot/\x1b[2J\"vmlinuz", ended(Ending::Done, None)));
    desk.put(record(&[b'x'; 200], ended(Ending::Aborted, Some((3, b"disk full\n")))));
    desk.put(record(b"..\\x", REFUSED));
    desk.clerk.tick(Duration::from_millis(20), false);
    let [done, aborted, refused] = <[_; 3]>::try_from(desk.written()).unwrap();
    for (key, value) in [
        ("event", serde_json::json!("transfer")),
        ("outcome", "done".into()),
        ("client", "10.0.0.2:2000".into()),
        ("server", "10.0.0.1".into()),
        ("file", "boot/\\x1b[2J\"vmlinuz".into()),
        ("worker", 3.into()),
        ("tid", 40_000.into()),
        ("mode", "octet".into()),
        ("bytes", 700.into()),
        ("duration_us", 1_234.into()),
        ("blocks_resent", 1.into()),
        ("timeouts", 2.into()),
        ("blksize", 512.into()),
        ("windowsize", 4.into()),
    ] {
        assert_eq!(done[key], value, "{key}");
    }
    assert!(done.get("error_code").is_none());
    assert_eq!((aborted["error_code"].as_u64(), aborted["error_text"].as_str()), (Some(3), Some("disk full\\x0a")));
    assert_eq!(aborted["file"].as_str().unwrap(), format!("{}…", "x".repeat(128)));
    assert_eq!((refused["outcome"].as_str(), refused["error_code"].as_u64()), (Some("refused"), Some(1)));
    assert!(refused.get("bytes").is_none() && refused.get("tid").is_none(), "{refused}");
}

#[test]
fn refusals_are_rationed_and_transfers_are_not() {
    let mut desk = Desk::new(5);
    for _ in 0..30 {
        desk.put(record(b"absent", REFUSED));
        desk.put(record(b"there", ended(Ending::Done, None)));
    }
    desk.clerk.tick(Duration::ZERO, false);
    let written = desk.written();
    let of = |outcome: &str| written.iter().filter(|line| line["outcome"] == outcome).count();
    assert_eq!((of("refused"), of("done")), (10, 30));
    assert_eq!(desk.clerk.refusals.take_suppressed(), 20);
}

#[test]
fn what_the_ring_has_no_room_for_is_counted_once() {
    let mut desk = Desk::new(5);
    (0..70).for_each(|_| desk.put(record(b"f", ended(Ending::Done, None))));
    assert_eq!(lost(&desk.clerk.sources), 6);
    desk.clerk.tick(Duration::ZERO, true);
    assert_eq!((desk.written().len(), desk.clerk.lost_said), (64, 6));
    desk.put(record(b"f", ended(Ending::Done, None)));
    desk.clerk.tick(Duration::from_secs(5), false);
    assert_eq!((desk.written().len(), desk.clerk.lost_said), (1, 6));
}

#[test]
fn a_file_gets_what_there_is_when_the_thread_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transfers.jsonl");
    let settings = LogSettings { transfer_file: Some(path.clone()), ..LogSettings::default() };
    let counters = Arc::new(LaneCounters::with_records(8));
    let log = TransferLog::start(&settings).unwrap();
    log.watch(vec![Source { worker: 0, counters: Arc::clone(&counters) }]);
    counters.records.as_ref().unwrap().push_with(|| record(b"f", ended(Ending::CutOff, None)));
    drop(log);
    let line: serde_json::Value = serde_json::from_str(std::fs::read_to_string(&path).unwrap().trim_end()).unwrap();
    assert_eq!((line["outcome"].as_str(), line["file"].as_str()), (Some("cut_off"), Some("f")));

    let settings = LogSettings { transfer_file: Some(folder.path().join("no/such/place")), ..settings };
    let error = TransferLog::start(&settings).unwrap_err().to_string();
    assert!(error.contains("log.transfer_file") && error.contains("writable"), "{error}");
}
