//! All findings together: as lines for people, as an object for programs, and as an exit status.

use std::io::{self, Write};

use serde::Serialize;

use super::finding::{Finding, Status};
use crate::tables::escaped;

/// All findings, by family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of their families.
    pub findings: Vec<Finding>,
}

/// How many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All.
    pub checks: usize,
    /// Nothing to do.
    pub ok: usize,
    /// Those of the former for which the question did not arise.
    pub skipped: usize,
    /// See [`Status::Warning`].
    pub warnings: usize,
    /// See [`Status::Failure`].
    pub failures: usize,
    /// 0 all is ok, 1 there are warnings, 2 there are failures.
    pub exit_status: u8,
}

impl Report {
    /// Counts.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let count = |status| self.findings.iter().filter(|finding| finding.status == status).count();
        let (warnings, failures) = (count(Status::Warning), count(Status::Failure));
        Summary {
            checks: self.findings.len(),
            ok: count(Status::Ok),
            skipped: self.findings.iter().filter(|finding| finding.skipped).count(),
            warnings,
            failures,
            exit_status: match (warnings, failures) {
                (0, 0) => 0,
                (_, 0) => 1,
                _ => 2,
            },
        }
    }

    /// Those of a status.
    pub fn with(&self, status: Status) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.status == status)
    }

    /// Writes aligned lines by family, each problem with what mends it, and a line that sums up; those of no concern only with `all`.
    ///
    /// # Errors
    /// `out` cannot be written to.
    pub fn write(&self, out: &mut dyn Write, all: bool) -> io::Result<()> {
        let shown = || self.findings.iter().filter(|finding| all || !finding.skipped);
        let width = shown().map(|finding| name(finding).chars().count()).max().unwrap_or(0);
        let mut family = None;
        for finding in shown() {
            if family.replace(finding.family) != Some(finding.family) {
                writeln!(out, "{}", finding.family.word())?;
            }
            let status = if finding.skipped { "-" } else { finding.status.word() };
            writeln!(out, "  {status:<7}  {:<width$}  {}", name(finding), escaped(&finding.cause))?;
            write_help(out, finding, &" ".repeat(2 + 7 + 2 + width + 2))?;
        }
        writeln!(out, "\n{}", self.summary().line())
    }

    /// Writes an object with `checks` and `summary`.
    ///
    /// # Errors
    /// `out` cannot be written to.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shape<'a> {
            checks: &'a [Finding],
            summary: Summary,
        }
        serde_json::to_writer_pretty(&mut *out, &Shape { checks: &self.findings, summary: self.summary() })?;
        writeln!(out)
    }

    /// The findings of a status as a log has them, one line each.
    pub fn lines(&self, status: Status) -> impl Iterator<Item = String> {
        self.with(status).map(move |finding| {
            let mend = finding.mend.as_ref().map(|mend| format!(": {}", escaped(mend))).unwrap_or_default();
            let or = finding.otherwise.as_ref().map(|words| format!("; or {}", escaped(words))).unwrap_or_default();
            format!("{}: {}: {}{mend}{or}", status.word(), name(finding), escaped(&finding.cause))
        })
    }
}

impl Summary {
    /// `27 checks: 24 ok, 2 warnings, 1 failure`.
    #[must_use]
    pub fn line(&self) -> String {
        let several = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let skipped = if self.skipped == 0 {
            String::new()
        } else {
            format!(" ({} of no concern, shown by --all)", self.skipped)
        };
        format!(
            "{}: {} ok{skipped}, {}, {}",
            several(self.checks, "check"),
            self.ok,
            several(self.warnings, "warning"),
            several(self.failures, "failure")
        )
    }
}

fn name(finding: &Finding) -> String {
    match &finding.subject {
        Some(subject) => format!("{} {}", finding.title, escaped(subject)),
        None => finding.title.to_owned(),
    }
}

fn write_help(out: &mut dyn Write, finding: &Finding, margin: &str) -> io::Result<()> {
    if let Some(mend) = &finding.mend {
        writeln!(out, "{margin}mend: {}", escaped(mend))?;
    }
    if let Some(otherwise) = &finding.otherwise {
        writeln!(out, "{margin}or:   {}", escaped(otherwise))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Check, Family, Verdict, When};

    fn finding(family: Family, title: &'static str, verdict: Verdict) -> Finding {
        verdict.of(&Check { id: "x", family, title, when: When::Always, look: |_| Vec::new() })
    }

    fn report() -> Report {
        let findings = vec![
            finding(Family::Memory, "hugepages", Verdict::ok("1024 MiB free").fact("free_mib", 1024)),
            finding(Family::Memory, "hugetlbfs", Verdict::skipped("nobody asks")),
            finding(
                Family::Devices,
                "driver",
                Verdict::failure("bound to `e1000\u{1b}`", "modprobe x").or("wait").about("03:00.0"),
            ),
            finding(Family::Cpu, "governor", Verdict::warning("powersave", "cpupower")),
        ];
        Report { findings }
    }

    #[test]
    fn people_see_aligned_lines_by_family_with_what_mends_each() {
        let mut text = Vec::new();
        report().write(&mut text, true).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "memory\n\
             \x20 ok       hugepages       1024 MiB free\n\
             \x20 -        hugetlbfs       nobody asks\n\
             devices\n\
             \x20 failure  driver 03:00.0  bound to `e1000\\u{1b}`\n\
             \x20                          mend: modprobe x\n\
             \x20                          or:   wait\n\
             cpu\n\
             \x20 warning  governor        powersave\n\
             \x20                          mend: cpupower\n\
             \n\
             4 checks: 2 ok (1 of no concern, shown by --all), 1 warning, 1 failure\n"
        );
    }

    #[test]
    fn what_is_of_no_concern_is_shown_on_demand() {
        let mut text = Vec::new();
        report().write(&mut text, false).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("nobody asks") && text.contains("4 checks: 2 ok (1 of no concern"), "{text}");
    }

    #[test]
    fn programs_get_an_object() {
        let mut text = Vec::new();
        report().write_json(&mut text).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["summary"]["checks"], 4);
        assert_eq!(value["summary"]["exit_status"], 2);
        assert_eq!(value["checks"][0]["facts"]["free_mib"], 1024);
        assert_eq!((&value["checks"][1]["status"], &value["checks"][1]["skipped"]), (&"ok".into(), &true.into()));
        assert_eq!(
            (&value["checks"][2]["status"], &value["checks"][2]["family"]),
            (&"failure".into(), &"devices".into())
        );
        assert_eq!(
            (&value["checks"][2]["mend"], &value["checks"][2]["otherwise"]),
            (&"modprobe x".into(), &"wait".into())
        );
    }

    #[test]
    fn a_log_has_one_line_for_each() {
        let lines: Vec<String> = report().lines(Status::Warning).chain(report().lines(Status::Failure)).collect();
        assert_eq!(
            lines,
            [
                "warning: governor: powersave: cpupower",
                "failure: driver 03:00.0: bound to `e1000\\u{1b}`: modprobe x; or wait"
            ]
        );
    }

    #[test]
    fn the_exit_status_is_that_of_the_gravest() {
        let mut report = report();
        assert_eq!(report.summary().exit_status, 2);
        report.findings.retain(|finding| finding.status != Status::Failure);
        assert_eq!(report.summary().exit_status, 1);
        report.findings.retain(|finding| finding.status == Status::Ok);
        assert_eq!(report.summary().exit_status, 0);
        assert_eq!(report.summary().line(), "2 checks: 2 ok (1 of no concern, shown by --all), 0 warnings, 0 failures");
    }
}
