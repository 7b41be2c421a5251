//! `bypassd.toml(5)` out of the commented reference configuration: what stands above a key is its text, `#key = …` shows a default and
//! `key = …` an example.

use crate::roff::{escaped, filled, heading, verbatim};

/// A comment and the keys that directly follow it.
#[derive(Debug, Default)]
struct Entry<'a> {
    comment: Vec<&'a str>,
    keys: Vec<(&'a str, bool)>,
}

impl<'a> Entry<'a> {
    fn write(&mut self, out: &mut String) {
        let Self { comment, keys } = std::mem::take(self);
        for (number, (key, is_default)) in keys.iter().enumerate() {
            let (name, value) = key.split_once('=').unwrap_or((key, ""));
            let (name, value) = (escaped(name.trim()), escaped(value.trim()));
            let what = if *is_default { "default" } else { "example" };
            out.push_str(if number == 0 { ".TP\n" } else { ".TQ\n" });
            out.push_str(&format!("\\fB{name}\\fR = {value}  ({what})\n"));
        }
        if comment.is_empty() {
            return;
        }
        if keys.is_empty() && !out.lines().next_back().is_some_and(|line| line.starts_with(".SH")) {
            out.push_str(".PP\n");
        }
        for group in comment.chunk_by(|one, next| is_verbatim(one) == is_verbatim(next)) {
            let text =
                if is_verbatim(group[0]) { verbatim(group.iter().copied()) } else { filled(group.iter().copied()) };
            out.push_str(&text);
        }
    }

    fn add(&mut self, line: &'a str, out: &mut String) {
        if let Some(comment) = line.strip_prefix("# ") {
            if !self.keys.is_empty() {
                self.write(out);
            }
            self.comment.push(comment);
        } else if let Some(key) = line.strip_prefix('#').filter(|rest| !rest.is_empty()) {
            self.keys.push((key, true));
        } else if line.trim().is_empty() || line == "#" {
            self.write(out);
        } else {
            self.keys.push((line.split("  #").next().unwrap_or(line), false));
        }
    }
}

fn is_verbatim(line: &str) -> bool {
    line.starts_with("  ")
}

/// The sections of the page about the keys.
pub(crate) fn sections(reference: &str) -> String {
    let mut out = heading("EVERY KEY");
    let mut entry = Entry::default();
    for line in reference.lines() {
        if let Some(title) = line.strip_prefix('[') {
            entry.write(&mut out);
            out.push_str(&heading(&format!("[{title}")));
        } else {
            entry.add(line, &mut out);
        }
    }
    entry.write(&mut out);
    out
}
