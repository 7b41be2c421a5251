//! Every check is provoked from a made-up machine on which it was content before, and by a machine that tells nothing.

mod cpu;
mod devices;
mod files;
mod machine;
mod network;

use super::scene::Scene;
use super::{Finding, Status, When, all};

/// One thing that is wrong, and what the check says of it.
pub(super) struct Case {
    /// The check.
    check: &'static str,
    /// The machine, on which all is well.
    scene: fn() -> Scene,
    /// Spoils it.
    provoke: fn(&mut Scene),
    /// How grave it then is.
    status: Status,
    /// Part of the cause.
    cause: &'static str,
    /// Part of the command.
    mend: &'static str,
}

fn cases() -> impl Iterator<Item = &'static Case> {
    [machine::CASES, devices::CASES, cpu::CASES, files::CASES, network::CASES].into_iter().flatten()
}

fn shown(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding:#?}\n")).collect()
}

#[test]
fn every_check_is_provoked() {
    for check in all() {
        // What is wrong with file and flags is tried through the command.
        if check.id != "configuration" {
            assert!(cases().any(|case| case.check == check.id), "no case provokes {}", check.id);
        }
    }
    for case in cases() {
        assert!(all().any(|check| check.id == case.check), "there is no check {}", case.check);
    }
}

#[test]
fn there_are_at_least_25_checks_under_names_of_their_own() {
    let ids: Vec<&str> = all().map(|check| check.id).collect();
    assert!(ids.len() >= 25, "{ids:?}");
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "{id} twice");
    }
}

#[test]
fn what_is_spoiled_is_found_and_only_then() {
    let wrong: Vec<String> = cases().filter_map(|case| complaint(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not as the case says.
fn complaint(case: &Case) -> Result<(), String> {
    let Case { check, scene, provoke, status, cause, mend } = case;
    let mut scene = scene();
    let before = scene.findings(check);
    if before.is_empty() || before.iter().any(|finding| finding.status != Status::Ok || finding.skipped) {
        return Err(format!("{check} is not content to begin with:\n{}", shown(&before)));
    }
    provoke(&mut scene);
    let after = scene.findings(check);
    let as_said = after.iter().any(|found| {
        found.status == *status
            && found.cause.contains(cause)
            && found.mend.as_ref().is_some_and(|text| text.contains(mend))
    });
    let gravest = after.iter().map(|found| found.status).max();
    if as_said && gravest == Some(*status) {
        return Ok(());
    }
    Err(format!("{check} does not say {status:?}, `{cause}`, `{mend}`:\n{}", shown(&after)))
}

#[test]
fn good_machines_are_clean() {
    for scene in [Scene::appliance(), Scene::lab()] {
        let report = scene.report(When::Asked);
        let bad: Vec<_> = report.findings.iter().filter(|finding| finding.status != Status::Ok).cloned().collect();
        assert!(bad.is_empty(), "{}", shown(&bad));
        assert_eq!(report.summary().exit_status, 0);
    }
}

#[test]
fn a_machine_that_tells_nothing_is_no_crash_and_blamed_for_nothing() {
    for scene in [Scene::appliance(), Scene::lab()] {
        for folder in ["/proc", "/sys", "/dev", "/run", "/etc", "/srv", "/usr"] {
            if scene.host.exists(folder) {
                scene.remove(folder);
            }
        }
        let report = scene.report(When::Asked);
        let failed: Vec<&str> = report.with(Status::Failure).map(|finding| finding.id).collect();
        // What is needed and is truly not there, or nowhere to be seen.
        let needed = [
            "hugepages",
            "hugetlbfs",
            "iommu",
            "vfio-module",
            "tun-device",
            "vhost-endpoint",
            "runtime-folder",
            "control-folder",
            "content-root",
            "lcores-allowed",
        ];
        assert!(failed.iter().all(|id| needed.contains(id)), "{failed:?}");
    }
}

#[test]
fn a_run_never_walks_the_content() {
    let scene = Scene::appliance();
    scene.remove("/srv");
    assert_eq!(scene.report(When::Always).summary().failures, 0);
    assert_eq!(scene.report(When::Asked).summary().failures, 1);
}
