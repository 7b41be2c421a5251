//! Progress of loading files: a bar on a terminal, a line now and then elsewhere. Writes to standard error only, and stays silent for short loads.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::notice::say;

/// Time between two lines.
const LINE_PERIOD: Duration = Duration::from_secs(2);

/// Progress towards a known number of files and bytes.
#[derive(Debug)]
pub struct LoadProgress {
    total_files: u64,
    total_bytes: u64,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl LoadProgress {
    /// Begins; the totals are known from a walk over the tree.
    #[must_use]
    pub fn start(total_files: u64, total_bytes: u64) -> Self {
        let shown = if io::stderr().is_terminal() {
            let bar = ProgressBar::new(total_bytes);
            // A template that indicatif does not take leaves its own style.
            if let Ok(style) = ProgressStyle::with_template("loading {bar:40} {bytes}/{total_bytes} {msg} {eta}") {
                bar.set_style(style);
            }
            Shown::Bar(bar)
        } else {
            Shown::Lines { last: Instant::now() }
        };
        Self { total_files, total_bytes, shown }
    }

    /// Files and bytes loaded so far.
    pub fn update(&mut self, files: u64, bytes: u64) {
        if let Some(line) = self.step(Instant::now(), files, bytes) {
            say(line);
        }
    }

    /// Loaded, or given up: takes the bar away.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }

    /// Moves the bar, or returns the line that is due.
    fn step(&mut self, now: Instant, files: u64, bytes: u64) -> Option<String> {
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(bytes);
                bar.set_message(format!("{files}/{} files", self.total_files));
                None
            }
            Shown::Lines { last } if now.duration_since(*last) >= LINE_PERIOD => {
                *last = now;
                let percent = (u128::from(bytes) * 100).checked_div(u128::from(self.total_bytes)).unwrap_or(100);
                Some(format!(
                    "loading: {files} of {} files, {} of {} MiB ({percent} %)",
                    self.total_files,
                    bytes >> 20,
                    self.total_bytes >> 20
                ))
            }
            Shown::Lines { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_rare_and_say_how_far_it_is() {
        let start = Instant::now();
        let mut progress = LoadProgress { total_files: 4, total_bytes: 200 << 20, shown: Shown::Lines { last: start } };
        assert_eq!(progress.step(start + Duration::from_millis(1999), 1, 10 << 20), None);
        assert_eq!(
            progress.step(start + Duration::from_secs(2), 2, 50 << 20).as_deref(),
            Some("loading: 2 of 4 files, 50 of 200 MiB (25 %)")
        );
        assert_eq!(progress.step(start + Duration::from_secs(3), 3, 60 << 20), None);
        let mut empty = LoadProgress { total_files: 0, total_bytes: 0, shown: Shown::Lines { last: start } };
        assert!(empty.step(start + Duration::from_secs(2), 0, 0).is_some_and(|line| line.contains("100 %")));
    }
}
