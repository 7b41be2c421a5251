//! `[access]`, `[[client]]`, `[[remap]]` and `[network]`: who may have what under which name, and from which ports. Reads and checks;
//! what rules mean is [`dataplane::rules`]' business.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use dataplane::files::NameOptions;
use dataplane::rules::{
    ClientRule, Deny, MacPrefix, PatternText, Prefix, RemapRule, RuleError, RuleSource, Rules, Then, WhoError,
};
use dataplane::session::ReplyPorts;
use dataplane::tftp::{OptionKind, OptionSet};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::config::{ConfigFile, bounded};
use crate::defaults;
use crate::settings::{Names, SettingsError, SettingsErrorKind};

/// What happens to clients that no `[[client]]` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultAction {
    /// They are served from the content root.
    #[default]
    Allow,
    /// They are not.
    Deny,
}

/// What a client that is not served hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyAction {
    /// Nothing: its request is dropped and counted.
    #[default]
    Drop,
    /// ERROR 2.
    Error,
}

/// `[access]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessTable {
    /// For clients that no `[[client]]` names.
    pub default_action: DefaultAction,
    /// What those hear that are not served.
    pub deny: DenyAction,
}

/// An option by its name in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionName(OptionKind);

impl FromStr for OptionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        OptionKind::from_name(text.as_bytes()).map(Self).ok_or_else(|| {
            let known = OptionKind::ALL.map(OptionKind::name).join(", ");
            format!("`{}` is no option: {known} are", text.escape_default())
        })
    }
}

/// `[[client]]`. Lists of one may be written without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTable {
    /// Whom the rule is for, by address.
    #[serde(deserialize_with = "list")]
    pub prefix: Vec<Prefix>,
    /// Whom the rule is for, by MAC address or the begin of one.
    #[serde(deserialize_with = "list")]
    pub mac: Vec<MacPrefix>,
    /// Whether they are served.
    pub allow: bool,
    /// Folders below the content root, looked in one after the other; `/` is the content root.
    #[serde(deserialize_with = "list")]
    pub root: Vec<String>,
    /// Largest block granted, in bytes.
    #[serde(deserialize_with = "cap_bytes")]
    pub max_blksize: Option<u16>,
    /// Largest window granted, in blocks.
    #[serde(deserialize_with = "cap_blocks")]
    pub max_window_blocks: Option<u8>,
    /// Options that are understood; `None`: all.
    #[serde(deserialize_with = "options")]
    pub options: Option<Vec<OptionName>>,
}

impl Default for ClientTable {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            mac: Vec::new(),
            allow: true,
            root: Vec::new(),
            max_blksize: None,
            max_window_blocks: None,
            options: None,
        }
    }
}

/// What comes after a `[[remap]]` that applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThenAction {
    /// The next rule.
    #[default]
    Next,
    /// No further rule.
    Stop,
    /// The first rule.
    Again,
    /// The request is refused with ERROR 2.
    Refuse,
}

/// `[[remap]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemapTable {
    /// The whole name, with `*`, `**` and `?`.
    pub name: Option<String>,
    /// A regular expression that matches any part of the name.
    pub regex: Option<String>,
    /// Whom the rule is for; empty: everybody.
    #[serde(deserialize_with = "list")]
    pub prefix: Vec<Prefix>,
    /// What is put in the match's place.
    pub to: Option<String>,
    /// Letters of either case match.
    pub ignore_case: bool,
    /// It applies to the names that do not match.
    pub unless: bool,
    /// Every match is replaced, not only the first.
    pub every: bool,
    /// What comes next.
    pub then: ThenAction,
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkTable {
    /// The UDP ports that transfers are served from.
    #[serde(deserialize_with = "port_range")]
    pub reply_ports: Option<(u16, u16)>,
    /// Serve all from port 69.
    pub single_port: bool,
}

/// One text, or a list of them.
fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: FromStr> Visitor<'de> for List<T>
    where
        T::Err: fmt::Display,
    {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            text.parse().map(|one| vec![one]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = seq.next_element::<String>()? {
                all.push(text.parse().map_err(de::Error::custom)?);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(List(PhantomData))
}

fn options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<OptionName>>, D::Error> {
    list(deserializer).map(Some)
}

fn cap_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    bounded::<_, _, 8, 65_464>(deserializer).map(Some)
}

fn cap_blocks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    bounded::<_, _, 1, 255>(deserializer).map(Some)
}

fn port_range<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(u16, u16)>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let range = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    range
        .filter(|(first, last)| first <= last)
        .map(Some)
        .ok_or_else(|| de::Error::custom(format_args!("`{text}` is no range of ports: write \"49152-65535\"")))
}

/// A rule or range of the configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMistake {
    /// Its section.
    key: &'static str,
    /// Where in the file, as [`ConfigFile::place_of`] takes it; the first of these that is there.
    paths: Vec<String>,
    message: String,
}

impl RuleMistake {
    fn of_table(key: &'static str, number: usize, parts: &[&str], message: &dyn fmt::Display) -> Self {
        let paths = parts.iter().map(|part| format!("{key}.{number}.{part}")).chain([format!("{key}.{number}")]);
        let message = format!("[[{key}]] number {}: {message}", number + 1);
        Self { key, paths: paths.collect(), message }
    }

    /// The same with its place in the file.
    #[must_use]
    pub fn placed(self, file: Option<&ConfigFile>) -> SettingsError {
        let place = file.and_then(|file| self.paths.iter().find_map(|path| file.place_of(path)));
        SettingsError { key: self.key, place: place.map(Box::new), kind: SettingsErrorKind::Rule(self.message) }
    }
}

/// How names are read.
#[must_use]
pub const fn name_options(names: &Names) -> NameOptions {
    NameOptions { backslash: names.backslash, fold_case: names.fold_case }
}

/// The rules of a configuration, which compile.
///
/// # Errors
/// The first one that does not.
pub fn source(
    access: &AccessTable,
    clients: &[ClientTable],
    remaps: &[RemapTable],
    names: &Names,
) -> Result<RuleSource, RuleMistake> {
    let remaps = (0..).zip(remaps).map(|(number, table)| remap(number, table)).collect::<Result<_, _>>()?;
    let source = RuleSource {
        deny_others: access.default_action == DefaultAction::Deny,
        deny: match access.deny {
            DenyAction::Drop => Deny::Drop,
            DenyAction::Error => Deny::Error,
        },
        clients: clients.iter().map(client).collect(),
        remaps,
    };
    match Rules::compile(&source, name_options(names)) {
        Ok(_) => Ok(source),
        Err(error) => Err(mistake(&error)),
    }
}

fn client(table: &ClientTable) -> ClientRule {
    let known = |names: &Vec<OptionName>| names.iter().fold(OptionSet::NONE, |all, name| all.with(name.0));
    ClientRule {
        prefixes: table.prefix.clone(),
        macs: table.mac.clone(),
        allow: table.allow,
        folders: table.root.clone(),
        max_blksize: table.max_blksize,
        max_window_blocks: table.max_window_blocks,
        options: table.options.as_ref().map_or(OptionSet::ALL, known),
    }
}

fn remap(number: usize, table: &RemapTable) -> Result<RemapRule, RuleMistake> {
    let pattern = match (&table.name, &table.regex) {
        (Some(glob), None) => PatternText::Glob(glob.clone()),
        (None, Some(regex)) => PatternText::Regex(regex.clone()),
        _ => {
            let message = "say which names it is about with either `name` or `regex`";
            return Err(RuleMistake::of_table("remap", number, &["regex"], &message));
        }
    };
    Ok(RemapRule {
        pattern,
        ignore_case: table.ignore_case,
        unless: table.unless,
        clients: table.prefix.clone(),
        to: table.to.clone(),
        every: table.every,
        then: match table.then {
            ThenAction::Next => Then::Next,
            ThenAction::Stop => Then::Stop,
            ThenAction::Again => Then::Again,
            ThenAction::Refuse => Then::Refuse,
        },
    })
}

fn mistake(error: &RuleError) -> RuleMistake {
    use dataplane::rules::RemapError;
    match error {
        RuleError::Who(WhoError::Nobody { client } | WhoError::Twice { client, .. }) => {
            RuleMistake::of_table("client", *client, &["prefix", "mac"], error)
        }
        RuleError::Folder { client, .. } | RuleError::TooManyFolders { client } => {
            RuleMistake::of_table("client", *client, &["root"], error)
        }
        RuleError::Remap { remap, error: RemapError::Pattern(_) | RemapError::DoesNothing } => {
            RuleMistake::of_table("remap", *remap, &["regex", "name"], error)
        }
        RuleError::Remap { remap, .. } => RuleMistake::of_table("remap", *remap, &["to"], error),
        RuleError::Who(WhoError::TooMany) => {
            RuleMistake { key: "client", paths: vec!["client".to_owned()], message: error.to_string() }
        }
        RuleError::TooManyRemaps => {
            RuleMistake { key: "remap", paths: vec!["remap".to_owned()], message: error.to_string() }
        }
    }
}

/// Rules for workers; `None` when they would change nothing, so that no request is held up by them.
///
/// # Errors
/// [`RuleError`], which a [`source`] that was checked never gives.
pub fn compile(source: &RuleSource, names: &Names) -> Result<Option<Arc<Rules>>, RuleError> {
    if source.clients.is_empty() && source.remaps.is_empty() && !source.deny_others {
        return Ok(None);
    }
    Rules::compile(source, name_options(names)).map(|rules| Some(Arc::new(rules)))
}

/// The ports of a configuration; that they do for the number of workers is seen when that is known.
///
/// # Errors
/// They do not do even for one worker with one session.
pub fn reply_ports(network: &NetworkTable) -> Result<ReplyPorts, RuleMistake> {
    let wrong = |message: String| RuleMistake {
        key: "network",
        paths: vec!["network.reply_ports".to_owned()],
        message: format!("reply_ports: {message}"),
    };
    let ports = match (network.reply_ports, network.single_port) {
        (None, false) => defaults::REPLY_PORTS,
        (Some((first, last)), false) => ReplyPorts::Range { first, last },
        (None, true) => ReplyPorts::Single,
        (Some(_), true) => {
            return Err(wrong("with single_port = true all replies leave from port 69: remove one of both".to_owned()));
        }
    };
    ports.check(1, 1).map_err(|error| wrong(error.to_string()))?;
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::settings::{Environment, Settings};
    use clap::Parser;

    fn resolve(text: &str) -> Result<Settings, SettingsError> {
        let words = ["bypassd", "run", "--vdev", "net_null0", "--address", "192.0.2.1/24"];
        let Command::Run(args) = Cli::parse_from(words).command else { panic!("run") };
        let file = ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap();
        Settings::resolve(args, Some(&file), &Environment { is_root: true, ..Environment::default() })
    }

    #[test]
    fn without_rules_there_are_none() {
        let settings = resolve("").unwrap();
        assert_eq!((&settings.rules, settings.reply_ports), (&RuleSource::default(), ReplyPorts::default()));
        assert!(compile(&settings.rules, &settings.names).unwrap().is_none());
        // What denied clients hear is nothing as long as none is denied.
        let settings = resolve("[access]\ndeny = \"error\"\n").unwrap();
        assert!(compile(&settings.rules, &settings.names).unwrap().is_none());
        let settings = resolve("[access]\ndefault_action = \"deny\"\n").unwrap();
        assert!(compile(&settings.rules, &settings.names).unwrap().is_some());
    }

    #[test]
    fn every_key_finds_its_place() {
        let settings = resolve(
            r#"
            [access]
            default_action = "deny"
            deny = "error"
            [[client]]
            prefix = ["10.1.0.0/16", "2001:db8::/32"]
            mac = "52:54:00"
            root = ["by/{mac}", "/"]
            max_blksize = 1024
            max_window_blocks = 4
            options = ["blksize", "TSIZE"]
            [[client]]
            prefix = "10.2.0.0/16"
            allow = false
            [[remap]]
            name = "boot/*"
            to = 'efi/\1'
            prefix = "::/0"
            [[remap]]
            regex = "x$"
            to = ""
            ignore_case = true
            every = true
            then = "again"
            [[remap]]
            regex = "^y"
            unless = true
            then = "refuse"
            [network]
            reply_ports = "50000-50999"
            "#,
        )
        .unwrap();
        let RuleSource { deny_others, deny, clients, remaps } = settings.rules;
        assert_eq!((deny_others, deny), (true, Deny::Error));
        assert_eq!(clients[0].prefixes.len() + clients[0].macs.len(), 3);
        assert_eq!(clients[0].folders, ["by/{mac}", "/"]);
        assert_eq!((clients[0].max_blksize, clients[0].max_window_blocks), (Some(1_024), Some(4)));
        assert_eq!(clients[0].options, OptionSet::NONE.with(OptionKind::Blksize).with(OptionKind::Tsize));
        assert_eq!((clients[1].allow, clients[1].options), (false, OptionSet::ALL));
        assert_eq!(remaps[0].pattern, PatternText::Glob("boot/*".into()));
        assert_eq!(
            (remaps[0].to.as_deref(), remaps[0].clients.len(), remaps[0].then),
            (Some("efi/\\1"), 1, Then::Next)
        );
        assert!(remaps[1].ignore_case && remaps[1].every && remaps[1].then == Then::Again);
        assert!(remaps[2].unless && remaps[2].then == Then::Refuse);
        assert_eq!(settings.reply_ports, ReplyPorts::Range { first: 50_000, last: 50_999 });
        assert_eq!(resolve("[network]\nsingle_port = true\n").unwrap().reply_ports, ReplyPorts::Single);
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        for (text, line, part) in [
            ("[[client]]\nroot = \"a\"\n", 1, "[[client]] number 1: names no client"),
            ("[[client]]\nprefix = \"::/0\"\n[[client]]\nprefix = \"::/0\"\n", 4, "::/0 is also in rule 1"),
            ("[[client]]\nprefix = \"::/0\"\nroot = \"../x\"\n", 3, "climbs out of the root"),
            ("[[client]]\nprefix = \"::/0\"\nroot = \"{serial}\"\n", 3, "{ip}, {ip_hex} and {mac} are known"),
            ("[[remap]]\nto = \"x\"\n", 1, "either `name` or `regex`"),
            ("[[remap]]\nname = \"x\"\nregex = \"x\"\nto = \"x\"\n", 3, "either `name` or `regex`"),
            ("[[remap]]\nregex = \"(a\"\nto = \"x\"\n", 2, "[[remap]] number 1: unclosed group"),
            ("[[remap]]\nname = \"a\"\nto = 'x'\n[[remap]]\nname = \"a*\"\nto = '\\2'\n", 6, "the pattern has 1"),
            ("[[remap]]\nname = \"a\"\nto = '\\d'\n", 3, "means nothing"),
            ("[[remap]]\nname = \"a\"\n", 2, "does nothing"),
            ("[network]\nreply_ports = \"69-5000\"\n", 2, "begin at 1024"),
            ("[network]\nreply_ports = \"5000-5010\"\n", 2, "at least 33 ports"),
            ("[network]\nsingle_port = true\nreply_ports = \"5000-6000\"\n", 3, "remove one of both"),
        ] {
            let error = resolve(text).unwrap_err();
            let shown = error.to_string();
            assert!(shown.starts_with(&format!("x.toml:{line}:")), "{text}{shown}");
            assert!(shown.contains(part), "{text}{shown}");
        }
    }

    #[test]
    fn wrong_values_are_refused_as_everywhere() {
        for (text, part) in [
            ("[[client]]\nprefix = \"10.1.2.3/16\"\n", "write 10.1.0.0/16"),
            ("[[client]]\nprefix = 5\n", "a text or a list of texts"),
            ("[[client]]\nmac = \"5\"\n", "no MAC address"),
            ("[[client]]\noptions = [\"window\"]\n", "blksize, timeout, tsize, windowsize are"),
            ("[[client]]\nmax_window_blocks = 0\n", "1 to 255"),
            ("[[client]]\nfallback = true\n", "unknown key"),
            ("[network]\nreply_ports = \"9-5\"\n", "no range of ports"),
            ("[access]\ndeny = \"perhaps\"\n", "drop"),
        ] {
            let error = ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}{error}");
        }
    }
}
