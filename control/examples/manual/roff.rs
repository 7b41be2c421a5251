//! Text as `man(7)` takes it.

/// A line of text that cannot be taken for a request or an escape.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// A heading of a section.
pub(crate) fn heading(title: &str) -> String {
    format!(".SH \"{}\"\n", escaped(title).replace('"', "\\(dq"))
}

/// Lines as they are, indented, none of them filled.
pub(crate) fn verbatim<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let lines: String = lines.into_iter().map(|line| escaped(line) + "\n").collect();
    format!(".nf\n{lines}.fi\n")
}

/// Lines filled to a paragraph.
pub(crate) fn filled<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    lines.into_iter().map(|line| escaped(line.trim()) + "\n").collect()
}
