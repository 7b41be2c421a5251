//! The manual pages: `bypassd(8)` with a page for each of its words, `bypassctl(1)`, `bypassd.toml(5)`.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use control::args::Cli;
use control::ctl::CtlArgs;

use crate::configuration;
use crate::roff::{filled, heading, verbatim};

/// A page.
pub(crate) struct Page {
    /// With its section: `bypassd.8`.
    pub(crate) file: String,
    pub(crate) text: String,
}

const FILES: &str = "\
/etc/bypassd/bypassd.toml          configuration of the service
/run/bypassd/control.sock          control socket of the service
/usr/share/doc/bypassd/examples    configurations for one NIC, two NICs and labs, and a drop-in for virtual devices";

/// All pages. `date` stands at their foot, and may be empty.
pub(crate) fn all(date: &str, reference: &str) -> Vec<Page> {
    let mut daemon = Cli::command().disable_help_subcommand(true);
    daemon.build();
    let words: Vec<Command> = daemon.get_subcommands().filter(|word| !word.is_hide_set()).cloned().collect();
    let page = |command: &Command, section: &str, see: &str| {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        Page { text: text(command, &name, section, date, see), file: format!("{name}.{section}") }
    };
    let see = "bypassctl(1), bypassd.toml(5), systemctl(1)";
    let mut pages = vec![page(&daemon, "8", see)];
    pages.extend(words.iter().map(|word| page(word, "8", &format!("bypassd(8), {see}"))));
    pages.push(page(&CtlArgs::command(), "1", "bypassd(8), bypassd.toml(5)"));
    pages.push(Page { text: file_page(date, reference), file: "bypassd.toml.5".to_owned() });
    pages
}

/// A page of a command: what it says of itself, with its closing help as it is laid out on a terminal.
fn text(command: &Command, name: &str, section: &str, date: &str, see: &str) -> String {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().after_help(None::<&str>))
        .title(name.to_uppercase())
        .section(section)
        .date(date)
        .source(format!("bypassd {}", env!("CARGO_PKG_VERSION")))
        .manual("bypassd");
    let mut text = Vec::new();
    // Only a writer fails, and this one cannot.
    let rendered = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| {
            if command.get_subcommands().any(|word| !word.is_hide_set()) {
                man.render_subcommands_section(&mut text)
            } else {
                Ok(())
            }
        });
    debug_assert!(rendered.is_ok());
    // An empty line between two breaks is one vertical space.
    let mut text = String::from_utf8_lossy(&text).replace(".br\n\n.br\n", ".sp\n");
    if !help.trim().is_empty() {
        text.push_str(&heading("NOTES"));
        text.push_str(&verbatim(help.lines()));
    }
    text + &closing(see)
}

fn closing(see: &str) -> String {
    format!("{}{}{}{}", heading("FILES"), verbatim(FILES.lines()), heading("SEE ALSO"), filled([see]))
}

fn file_page(date: &str, reference: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let description = [
        "TOML. Unknown keys are errors that name the line; flags of",
        "bypassd run override the file.",
        "Below, a value marked as default is what holds without the key.",
    ];
    let parts = [
        format!(".TH BYPASSD.TOML 5 \"{date}\" \"bypassd {version}\" bypassd\n"),
        heading("NAME"),
        "bypassd.toml \\- configuration of bypassd\n".to_owned(),
        heading("DESCRIPTION"),
        filled(description),
        configuration::sections(reference),
        closing("bypassd(8), bypassd-run(8), bypassctl(1)"),
    ];
    parts.concat()
}
