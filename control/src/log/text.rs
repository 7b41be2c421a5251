//! A line for people: what was said, and the facts behind it as `key=value`.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format.
pub(super) struct Plain {
    pub(super) timestamps: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.timestamps {
            SystemTime.format_time(&mut out)?;
            out.write_char(' ')?;
        }
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(out, "{}{}", line.message, line.facts)
    }
}

#[derive(Default)]
struct Line {
    message: String,
    facts: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: &str) {
        // Writing to a String cannot fail.
        let _ = match (field.name(), must_be_quoted(value)) {
            ("message", _) => write!(self.message, "{value}"),
            (name, true) => write!(self.facts, " {name}={value:?}"),
            (name, false) => write!(self.facts, " {name}={value}"),
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
}

/// So that the end of a value can be seen.
fn must_be_quoted(value: &str) -> bool {
    value.is_empty() || value.contains([' ', '"', '='])
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Registry, fmt};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(timestamps: bool, say: impl FnOnce()) -> String {
        let paper = Paper::default();
        let writer = paper.clone();
        let layer = fmt::layer().event_format(Plain { timestamps }).with_writer(move || writer.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), say);
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_without_facts_is_the_line_itself() {
        assert_eq!(said(false, || tracing::info!("worker count is {}", 2)), "worker count is 2\n");
    }

    #[test]
    fn facts_follow_and_are_quoted_where_their_end_would_not_be_seen() {
        let name = "a b";
        let absent: Option<u16> = None;
        let line = said(false, || {
            tracing::info!(client = %"10.0.0.1:5", file = name, bytes = 7_u64, code = absent, text = "", "transfer done");
        });
        assert_eq!(line, "transfer done client=10.0.0.1:5 file=\"a b\" bytes=7 text=\"\"\n");
    }

    #[test]
    fn the_time_comes_first_where_it_is_wanted() {
        let line = said(true, || tracing::info!("now"));
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() >= 20 && time.contains('T') && time.ends_with('Z'), "{line}");
        assert_eq!(rest, "now\n");
    }
}
