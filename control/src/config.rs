//! The configuration file: typed TOML in which an unknown key is an error. Reads and checks single values; what depends on several values
//! is checked in [`crate::settings`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::address::{Cidr, PortAddress, PortIndex};
use crate::defaults;
use crate::device::{InterfaceName, PciDevice, Vdev};
use crate::lcores::LcoreList;
use crate::log::LogSettings;
use crate::metrics::Listen;
use crate::mistake::{Mistake, Place, nearest};
use crate::rules::{AccessTable, ClientTable, NetworkTable, RemapTable};
use crate::settings::{FilesSettings, Limits, Names, Timers, WorkerSettings};

/// Why a configuration file was not taken.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is wrong at some place.
    #[error("{0}")]
    Wrong(Box<Mistake>),
}

/// What a file says; what it does not say has its default or is `None`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileValues {
    /// Content root.
    pub root: Option<PathBuf>,
    /// Addresses; an empty list when there are none.
    #[serde(deserialize_with = "addresses")]
    pub address: Vec<PortAddress>,
    /// Kernel interface that gets the frames that are not ours.
    pub kernel_interface: Option<InterfaceName>,
    /// End after this many seconds without a transfer.
    #[serde(deserialize_with = "optional_seconds")]
    pub exit_when_idle_seconds: Option<u32>,
    /// `[eal]`.
    pub eal: EalTable,
    /// `[limits]`.
    pub limits: Limits,
    /// `[timers]`.
    pub timers: Timers,
    /// `[names]`.
    pub names: Names,
    /// `[access]`.
    pub access: AccessTable,
    /// `[[client]]`, in the order of the file.
    pub client: Vec<ClientTable>,
    /// `[[remap]]`, in the order of the file.
    pub remap: Vec<RemapTable>,
    /// `[network]`.
    pub network: NetworkTable,
    /// `[files]`.
    pub files: FilesSettings,
    /// `[worker]`.
    pub worker: WorkerSettings,
    /// `[control]`.
    pub control: ControlTable,
    /// `[log]`.
    pub log: LogSettings,
    /// `[metrics]`.
    pub metrics: MetricsTable,
}

/// `[eal]`: devices, lcores and memory.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EalTable {
    /// Virtual devices.
    pub vdev: Vec<Vdev>,
    /// PCI devices.
    pub allow: Vec<PciDevice>,
    /// Lcores, control's first.
    pub lcores: Option<LcoreList>,
    /// `None`: hugepages if there are enough.
    pub huge: Option<bool>,
    /// EAL's memory, in MiB; `None`: as much as is needed.
    #[serde(deserialize_with = "optional_mib")]
    pub memory_mib: Option<u32>,
    /// Name of EAL's runtime directory; `None`: unique to the process.
    pub file_prefix: Option<String>,
    /// Whether DPDK's secondary processes may attach.
    pub secondary_processes: bool,
    /// Whether a NIC through which the default route leads may be taken.
    pub allow_default_route: bool,
    /// Further EAL arguments, unchanged and last.
    pub extra: Vec<String>,
}

impl Default for EalTable {
    fn default() -> Self {
        Self {
            vdev: Vec::new(),
            allow: Vec::new(),
            lcores: None,
            huge: None,
            memory_mib: None,
            file_prefix: None,
            secondary_processes: defaults::SECONDARY_PROCESSES,
            allow_default_route: defaults::ALLOW_DEFAULT_ROUTE,
            extra: Vec::new(),
        }
    }
}

/// `[control]`: the socket for bypassctl.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlTable {
    /// Its path; `None`: [`crate::settings::Environment::control_socket`].
    pub socket: Option<PathBuf>,
    /// Its permissions.
    #[serde(deserialize_with = "socket_mode")]
    pub mode: u32,
    /// Its group: a name from /etc/group or a number.
    pub group: Option<String>,
}

impl Default for ControlTable {
    fn default() -> Self {
        Self { socket: None, mode: defaults::CONTROL_MODE, group: None }
    }
}

/// `[metrics]`: what monitoring may read.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsTable {
    /// Where on the host's own network; `None`: nowhere.
    pub listen: Option<Listen>,
}

/// A whole number from `MIN` to `MAX`.
pub(crate) fn bounded<'de, D, T, const MIN: u32, const MAX: u32>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u32>,
{
    let given = i64::deserialize(deserializer)?;
    u32::try_from(given)
        .ok()
        .filter(|value| (MIN..=MAX).contains(value))
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| de::Error::custom(format_args!("{given} is out of range: {MIN} to {MAX}")))
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded::<D, u32, 1, 31_536_000>(deserializer).map(Some)
}

fn optional_mib<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded::<D, u32, 32, 1_048_576>(deserializer).map(Some)
}

/// Permissions as systemd writes them. Text, because a TOML number 660 would be decimal.
fn socket_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let octal = text.len() <= 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if octal && mode & !0o660 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(de::Error::custom(format_args!(
            "`{text}` is no mode of the control socket: \"0600\" (owner), \"0640\" or \"0660\" (owner and group); never for others"
        ))),
    }
}

/// A list, or a table from port number to a list.
fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PortAddress>, D::Error> {
    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<PortAddress>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a list such as [\"192.0.2.1/24\"], or per port { 0 = [\"192.0.2.1/24\"], 1 = [\"198.51.100.1/24\"] }",
            )
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(address) = seq.next_element()? {
                found.push(address);
            }
            Ok(found)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(port) = map.next_key::<String>()? {
                let port = port.parse().map_err(|_| de::Error::custom(format_args!("`{port}` is no port number")))?;
                let addresses: Vec<Cidr> = map.next_value()?;
                found.extend(addresses.into_iter().map(|cidr| PortAddress { port: Some(PortIndex(port)), cidr }));
            }
            Ok(found)
        }
    }

    deserializer.deserialize_any(Addresses)
}

/// A file that was read and whose values are each right.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
    /// What it says.
    pub values: FileValues,
}

impl ConfigFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, text)
    }

    /// Checks a text; `path` is only for messages.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] at the first mistake.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        match toml::from_str(&text) {
            Ok(values) => Ok(Self { path: path.to_owned(), text, values }),
            Err(error) => Err(ConfigError::Wrong(Box::new(mistake(path, &text, &error)))),
        }
    }

    /// Where the value of `key` (`section.key`) stands; `None` when the file does not have it.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Option<Place> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut parts = key.split('.');
        let mut value = entry(root.get_ref(), parts.next()?)?;
        for part in parts {
            value = match value.get_ref() {
                DeValue::Table(table) => entry(table, part)?,
                // `remap.1.to`: the second table of [[remap]].
                DeValue::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(Place::of_byte(self.path.clone(), &self.text, value.span().start))
    }
}

fn entry<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<&'t Spanned<DeValue<'a>>> {
    table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
}

fn mistake(path: &Path, text: &str, error: &toml::de::Error) -> Mistake {
    let at = error.span().map_or(0, |span| span.start);
    let place = Place::of_byte(path.to_owned(), text, at);
    let key = DeTable::parse(text).ok().and_then(|root| key_at(root.get_ref(), at));
    match unknown_key(error.message()) {
        Some((unknown, known)) => Mistake {
            place,
            key,
            message: "unknown key".to_owned(),
            help: Some(match nearest(unknown, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            }),
        },
        None => Mistake { place, key, message: error.message().replace('\n', "; "), help: None },
    }
}

/// Serde's "unknown field `x`, expected one of `a`, `b`" as the key and the known keys.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The full name of the key that stands at, or whose value covers, byte `at`.
fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let inner = match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, at),
            DeValue::Array(items) => items.iter().find_map(|item| match item.get_ref() {
                DeValue::Table(inner) => key_at(inner, at),
                _ => None,
            }),
            _ => None,
        };
        match inner {
            Some(inner) => Some(format!("{}.{inner}", name.get_ref())),
            None => (covers(name, at) || covers(value, at)).then(|| name.get_ref().to_string()),
        }
    })
}

fn covers<T>(spanned: &Spanned<T>, at: usize) -> bool {
    spanned.span().contains(&at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Mistake {
        match ConfigFile::parse(Path::new("x.toml"), text.to_owned()) {
            Err(ConfigError::Wrong(mistake)) => *mistake,
            other => panic!("taken: {other:?}"),
        }
    }

    fn values(text: &str) -> FileValues {
        ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap().values
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        let mistake = wrong("root = \"/srv\"\n\n[limits]\nmax_window_blocks = 8\n  max_session = 5\n");
        assert_eq!((mistake.place.line, mistake.place.column), (5, 3));
        assert_eq!(mistake.key.as_deref(), Some("limits.max_session"));
        assert_eq!(mistake.help.as_deref(), Some("did you mean `max_sessions`?"));
        assert_eq!(
            mistake.to_string(),
            "x.toml:5:3: limits.max_session: unknown key\n 5 |   max_session = 5\n   |   ^\n help: did you mean `max_sessions`?"
        );
    }

    #[test]
    fn an_unknown_key_without_a_neighbour_lists_what_is_known() {
        let mistake = wrong("[names]\ncolour = true\n");
        assert_eq!(mistake.key.as_deref(), Some("names.colour"));
        assert_eq!(mistake.help.as_deref(), Some("known here: fold_case, backslash"));
        let mistake = wrong("[limit]\nmax_sessions = 1\n");
        assert_eq!((mistake.place.line, mistake.help.as_deref()), (1, Some("did you mean `limits`?")));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_place() {
        for (text, line, column, key, part) in [
            ("[limits]\nmax_sessions = 0\n", 2, 16, "limits.max_sessions", "0 is out of range: 1 to"),
            ("[limits]\nmax_sessions = -1\n", 2, 16, "limits.max_sessions", "-1 is out of range"),
            ("[worker]\nmtu = 9223372036854775807\n", 2, 7, "worker.mtu", "out of range"),
            ("[names]\n\nfold_case = 1\n", 3, 13, "names.fold_case", "expected a boolean"),
            ("[eal]\nlcores = \"1-0\"\n", 2, 10, "eal.lcores", "runs backwards"),
            ("[eal]\nvdev = [\"net_null0\", \"tap0\"]\n", 2, 8, "eal.vdev", "no virtual network device"),
            ("address = [\"192.0.2.1\"]\n", 1, 11, "address", "prefix length"),
            ("address = 5\n", 1, 11, "address", "a list such as"),
            ("[address]\n0 = [\"192.0.2.1/24\"]\n1 = [\"::/0\"]\n", 3, 5, "address.1", "no prefix length"),
            (
                "[[client]]\nprefix = \"::/0\"\n[[client]]\nprefix = [\"10.1\"]\n",
                4,
                10,
                "client.prefix",
                "is no prefix",
            ),
            ("[control]\nmode = \"0666\"\n", 2, 8, "control.mode", "never for others"),
            ("[files]\nbudget = \"4GB\"\n", 2, 10, "files.budget", "no cache budget"),
            ("[files]\nbudget = -4\n", 2, 10, "files.budget", "no cache budget"),
            ("[files]\npreload = [\"a\", \"\"]\n", 2, 11, "files.preload", "an empty pattern"),
            ("[control]\nmode = 660\n", 2, 8, "control.mode", "expected a string"),
        ] {
            let mistake = wrong(text);
            assert_eq!((mistake.place.line, mistake.place.column), (line, column), "{text}{mistake}");
            assert_eq!(mistake.key.as_deref(), Some(key), "{text}");
            assert!(mistake.message.contains(part), "{text}{mistake}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_is_placed_too() {
        let mistake = wrong("root = \"/srv\"\nbroken\n");
        assert_eq!((mistake.place.line, &mistake.key), (2, &None));
        assert_eq!(wrong("[limits]\ntries = 1\ntries = 2\n").place.line, 3);
    }

    #[test]
    fn addresses_come_as_a_list_or_per_port() {
        let list = values("address = [\"192.0.2.1/24\", \"1=2001:db8::1/64\"]");
        assert_eq!(list.address.iter().map(|a| a.port).collect::<Vec<_>>(), [None, Some(PortIndex(1))]);
        let table = values("[address]\n0 = [\"192.0.2.1/24\"]\n1 = [\"198.51.100.1/24\", \"2001:db8::1/64\"]\n");
        assert_eq!(table.address.len(), 3);
        assert_eq!(table.address[2].port, Some(PortIndex(1)));
    }

    #[test]
    fn modes_are_octal_and_closed_to_others() {
        for (text, mode) in [("0600", 0o600), ("660", 0o660), ("0640", 0o640)] {
            assert_eq!(values(&format!("[control]\nmode = \"{text}\"")).control.mode, mode);
        }
        for text in ["0700", "0060", "0604", "00600", "+600", "rw", ""] {
            wrong(&format!("[control]\nmode = \"{text}\""));
        }
    }

    #[test]
    fn the_place_of_a_key_is_found() {
        let text = "root = \"/srv\"\n[timers]\ntries = 3\n";
        let file = ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap();
        let place = file.place_of("timers.tries").unwrap();
        assert_eq!((place.line, place.column), (3, 9));
        assert!(file.place_of("timers.drain_seconds").is_none());
        assert!(file.place_of("root.tries").is_none());
        let text = "[[remap]]\nname = \"a\"\n\n[[remap]]\nto = \"b\"\n";
        let file = ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap();
        assert_eq!(file.place_of("remap.0.name").unwrap().line, 2);
        assert_eq!(file.place_of("remap.1.to").unwrap().line, 5);
        assert!(file.place_of("remap.2.to").is_none() && file.place_of("remap.x").is_none());
    }
}
