//! The ladder from end to end, short, on `net_ring` without hugepages: all figures are there, and replies were checked.

use serde_json::Value;
use std::process::Command;

#[test]
fn a_short_ladder_gives_all_figures() {
    let output = Command::new(env!("CARGO_BIN_EXE_bypassbench"))
        .args(["ladder", "--quick", "--json", "--rounds", "2", "--windows", "2", "--sessions", "1k"])
        .args(["--blksize", "512,1428,8192", "--windowsize", "1,16"])
        .output()
        .expect("bypassbench runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    for field in [
        "added_cycles_512",
        "added_cycles_1428",
        "r2_over_r0_512",
        "r2_over_r0_1428",
        "sessions_per_s",
        "sessions_per_s_oack",
        "bytes_per_session",
        "noise_cycles",
    ] {
        assert!(report[field].is_number(), "{field}: {}", report[field]);
    }
    // A machine with one CPU, or one whose others leave no quiet moment, says why there is no figure.
    let (scaling, latency) = (&report["scaling"], &report["latency"]);
    if report["workers_2_over_1"].is_null() {
        assert!(report["workers_2_over_1_missing"].is_string(), "{report}");
    } else {
        assert_eq!(report["workers_2_over_1"], scaling["ratio"]["median"]);
        for worker in 0..2 {
            assert!(scaling["cpus"][worker].is_u64() && scaling["efficiency"][worker].is_number(), "{scaling}");
            assert!(scaling["alone"][worker]["median"].is_number(), "{scaling}");
            assert!(scaling["together"][worker]["median"].is_number(), "{scaling}");
        }
        assert_ne!(scaling["cpus"][0], scaling["cpus"][1]);
    }
    if latency.is_null() {
        assert!(report["latency_missing"].is_string(), "{report}");
    } else {
        for rung in ["r1", "r2"] {
            let (p50, p99) = (latency[rung]["p50_ns"].as_u64(), latency[rung]["p99_ns"].as_u64());
            assert!(p50 > Some(0) && p50 <= p99, "{latency}");
        }
        for field in ["ratio_p50", "ratio_p99", "load_per_s"] {
            assert!(latency[field].is_number(), "{field}: {latency}");
        }
    }
    let cases = report["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 6);
    for case in cases {
        // 256 bursts of 32, each on R0, R0 again, R1 and R2: a reply per frame, and the window on the last two.
        let window = case["windowsize"].as_u64().expect("windowsize");
        assert_eq!(case["verified_replies"].as_u64(), Some(256 * 32 * (2 + 2 * window)), "{case}");
        for rung in ["r0a", "r0b", "r1", "r2"] {
            assert!(case[rung]["median"].is_number(), "{case}");
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for wrong in [["--blksize", "9000"], ["--windowsize", "17"], ["--sessions", "5M"], ["--content", "warm"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_bypassbench"))
            .arg("ladder")
            .args(wrong)
            .output()
            .expect("bypassbench runs");
        assert!(!output.status.success(), "{wrong:?}");
    }
}
