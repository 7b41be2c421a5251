//! Client rules: which clients are served, out of which folders, under which terms. One rule decides for each client.

use super::folder::{FOLDERS_MAX, Folder};
use super::prefix::{MacPrefix, Prefix, Span, SpanTable, mac_number, number};
use super::{Requester, RuleError};
use crate::files::NameOptions;
use crate::tftp::{Caps, OptionSet};
use core::net::IpAddr;
use thiserror::Error;

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRule {
    /// The clients with these addresses …
    pub prefixes: Vec<Prefix>,
    /// … and those with these MAC addresses, which go before all prefixes.
    pub macs: Vec<MacPrefix>,
    /// Whether they are served.
    pub allow: bool,
    /// Folders below the content root in which names are looked for, one after the other; empty: the content root itself.
    pub folders: Vec<String>,
    /// Largest block in bytes; `None`: as for everybody.
    pub max_blksize: Option<u16>,
    /// Largest window in blocks; `None`: as for everybody.
    pub max_window_blocks: Option<u8>,
    /// Options that are understood; others are ignored as if they were unknown (RFC 2347).
    pub options: OptionSet,
}

impl Default for ClientRule {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            macs: Vec::new(),
            allow: true,
            folders: Vec::new(),
            max_blksize: None,
            max_window_blocks: None,
            options: OptionSet::ALL,
        }
    }
}

impl ClientRule {
    /// Which of its prefixes a client has, the one that counts if there are several.
    #[must_use]
    pub fn matched(&self, client: &Requester) -> Option<String> {
        let held = |span: Span, at: u128| (span.first..=span.last).contains(&at).then_some(span.last - span.first);
        let macs =
            self.macs.iter().filter_map(|mac| Some((held(mac.span(), mac_number(client.mac?))?, mac.to_string())));
        let prefixes = self.prefixes.iter().filter(|prefix| prefix.holds(client.ip));
        let prefixes =
            prefixes.filter_map(|prefix| Some((held(prefix.span().0, number(client.ip))?, prefix.to_string())));
        macs.min().or_else(|| prefixes.min()).map(|(_, text)| text)
    }
}

/// Why it cannot be said whom a rule is for. The numbers count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WhoError {
    /// A rule names nobody.
    #[error("names no client: give it a prefix or a mac")]
    Nobody {
        /// Which rule.
        client: usize,
    },
    /// Two rules name the same clients.
    #[error("{who} is also in rule {}", other + 1)]
    Twice {
        /// The later rule.
        client: usize,
        /// The earlier one.
        other: usize,
        /// The prefix.
        who: String,
    },
    /// More rules than can be numbered.
    #[error("more than {} rules", u16::MAX - 1)]
    TooMany,
}

/// The number of a compiled rule; that of those whom no rule names is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyId(u16);

/// What a rule says.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    rule: Option<usize>,
    allow: bool,
    /// At least one.
    folders: Box<[Folder]>,
    max_blksize: u16,
    max_window_blocks: u8,
    options: OptionSet,
}

impl ClientPolicy {
    /// Which rule it is, counted from 0; `None` for those whom none names.
    #[must_use]
    pub const fn rule(&self) -> Option<usize> {
        self.rule
    }

    /// Whether its clients are served.
    #[must_use]
    pub const fn allows(&self) -> bool {
        self.allow
    }

    /// The options that are understood.
    #[must_use]
    pub const fn options(&self) -> OptionSet {
        self.options
    }

    /// What remains of `caps`.
    #[must_use]
    pub fn cap(&self, caps: Caps) -> Caps {
        Caps {
            blksize: caps.blksize.min(self.max_blksize),
            window_blocks: caps.window_blocks.min(self.max_window_blocks),
            ..caps
        }
    }

    pub(super) fn folders(&self) -> &[Folder] {
        &self.folders
    }
}

/// All client rules.
#[derive(Debug)]
pub(super) struct Clients {
    policies: Box<[ClientPolicy]>,
    ipv4: SpanTable,
    ipv6: SpanTable,
    /// `None` where no rule names a MAC address.
    macs: Option<SpanTable>,
    others: u16,
}

impl Clients {
    #[cold]
    pub(super) fn compile(rules: &[ClientRule], deny_others: bool, names: NameOptions) -> Result<Self, RuleError> {
        let others = u16::try_from(rules.len()).ok().filter(|&count| count < u16::MAX).ok_or(WhoError::TooMany)?;
        let [mut ipv4, mut ipv6, mut macs] = [(); 3].map(|()| Vec::new());
        let mut policies = Vec::new();
        for (client, rule) in (0..others).zip(rules) {
            if rule.prefixes.is_empty() && rule.macs.is_empty() {
                return Err(WhoError::Nobody { client: client.into() }.into());
            }
            for prefix in &rule.prefixes {
                let (span, is_ipv4) = prefix.span();
                add(if is_ipv4 { &mut ipv4 } else { &mut ipv6 }, span, client, prefix)?;
            }
            for mac in &rule.macs {
                add(&mut macs, mac.span(), client, mac)?;
            }
            policies.push(policy(rule, client.into(), names)?);
        }
        let everybody_else = ClientRule { allow: !deny_others, ..ClientRule::default() };
        policies.push(ClientPolicy { rule: None, ..policy(&everybody_else, 0, names)? });
        Ok(Self {
            policies: policies.into(),
            ipv4: SpanTable::new(ipv4, others),
            ipv6: SpanTable::new(ipv6, others),
            macs: (!macs.is_empty()).then(|| SpanTable::new(macs, others)),
            others,
        })
    }

    pub(super) fn find(&self, client: &Requester) -> PolicyId {
        if let (Some(macs), Some(mac)) = (&self.macs, client.mac) {
            let id = macs.find(mac_number(mac));
            if id != self.others {
                return PolicyId(id);
            }
        }
        let table = match client.ip {
            IpAddr::V4(_) => &self.ipv4,
            IpAddr::V6(_) => &self.ipv6,
        };
        PolicyId(table.find(number(client.ip)))
    }

    pub(super) fn policy(&self, PolicyId(id): PolicyId) -> &ClientPolicy {
        &self.policies[usize::from(id)]
    }
}

fn policy(rule: &ClientRule, client: usize, names: NameOptions) -> Result<ClientPolicy, RuleError> {
    if rule.folders.len() > FOLDERS_MAX {
        return Err(RuleError::TooManyFolders { client });
    }
    let root = [String::from("/")];
    let folders = if rule.folders.is_empty() { &root[..] } else { &rule.folders };
    let folders = folders
        .iter()
        .map(|text| Folder::parse(text, names).map_err(|error| RuleError::Folder { client, error }))
        .collect::<Result<_, _>>()?;
    Ok(ClientPolicy {
        rule: Some(client),
        allow: rule.allow,
        folders,
        max_blksize: rule.max_blksize.unwrap_or(u16::MAX),
        max_window_blocks: rule.max_window_blocks.unwrap_or(u8::MAX),
        options: rule.options,
    })
}

/// Notes whom a rule is for.
fn add(spans: &mut Vec<(Span, u16)>, span: Span, client: u16, who: &impl ToString) -> Result<(), WhoError> {
    if let Some((_, other)) = spans.iter().find(|(known, _)| *known == span) {
        return Err(WhoError::Twice { client: client.into(), other: (*other).into(), who: who.to_string() });
    }
    spans.push((span, client));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: NameOptions = NameOptions { backslash: true, fold_case: false };

    fn rule(prefixes: &[&str], macs: &[&str]) -> ClientRule {
        ClientRule {
            prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
            macs: macs.iter().map(|text| text.parse().unwrap()).collect(),
            ..ClientRule::default()
        }
    }

    fn rule_of(clients: &Clients, ip: &str, mac: Option<[u8; 6]>) -> Option<usize> {
        clients.policy(clients.find(&Requester { ip: ip.parse().unwrap(), mac })).rule()
    }

    #[test]
    fn the_longest_prefix_decides_and_a_mac_address_before_it() {
        let rules = [
            rule(&["10.0.0.0/8", "2001:db8::/32"], &[]),
            rule(&["10.1.0.0/16"], &["52:54:00"]),
            rule(&["10.1.2.3"], &["52:54:00:00:00:01"]),
        ];
        let clients = Clients::compile(&rules, false, NAMES).unwrap();
        for (ip, mac, wanted) in [
            ("10.9.9.9", None, Some(0)),
            ("10.1.9.9", None, Some(1)),
            ("10.1.2.3", None, Some(2)),
            ("11.0.0.0", None, None),
            ("9.255.255.255", None, None),
            ("2001:db8:ffff::", None, Some(0)),
            ("2001:db9::", None, None),
            ("10.1.2.3", Some([2, 0, 0, 0, 0, 1]), Some(2)),
            ("10.1.2.3", Some([0x52, 0x54, 0, 9, 9, 9]), Some(1)),
            ("11.0.0.0", Some([0x52, 0x54, 0, 0, 0, 1]), Some(2)),
        ] {
            assert_eq!(rule_of(&clients, ip, mac), wanted, "{ip} {mac:?}");
        }
        let matched = |rule: &ClientRule, ip: &str, mac| rule.matched(&Requester { ip: ip.parse().unwrap(), mac });
        assert_eq!(matched(&rules[1], "10.1.9.9", None).unwrap(), "10.1.0.0/16");
        assert_eq!(matched(&rules[1], "10.1.9.9", Some([0x52, 0x54, 0, 0, 0, 1])).unwrap(), "52:54:00");
        assert_eq!(matched(&rules[2], "10.1.9.9", None), None);
    }

    #[test]
    fn everybody_else_is_allowed_or_denied() {
        for deny_others in [false, true] {
            let clients = Clients::compile(&[rule(&["10.0.0.0/8"], &[])], deny_others, NAMES).unwrap();
            let of = |ip: &str| clients.policy(clients.find(&Requester { ip: ip.parse().unwrap(), mac: None }));
            assert!(of("10.0.0.1").allows());
            assert_eq!(of("11.0.0.1").allows(), !deny_others);
            assert_eq!(of("::1").allows(), !deny_others);
        }
    }

    #[test]
    fn rules_that_name_nobody_or_the_same_are_refused() {
        let error = |rules: &[ClientRule]| Clients::compile(rules, false, NAMES).unwrap_err();
        assert_eq!(error(&[rule(&[], &[])]), RuleError::Who(WhoError::Nobody { client: 0 }));
        let twice = error(&[rule(&["10.0.0.0/8"], &[]), rule(&["::/0"], &[]), rule(&["10.0.0.0/8"], &[])]);
        assert_eq!(twice, WhoError::Twice { client: 2, other: 0, who: "10.0.0.0/8".into() }.into());
        let folders = ClientRule { folders: vec!["a".into(); FOLDERS_MAX + 1], ..rule(&["::/0"], &[]) };
        assert_eq!(error(&[folders]), RuleError::TooManyFolders { client: 0 });
    }

    proptest! {
        #[test]
        fn a_look_up_is_what_walking_the_rules_finds(
            prefixes in proptest::collection::vec((0_u32..16, 0_u32..16, 0_u8..=32, any::<bool>()), 0..60),
            probes in proptest::collection::vec((0_u32..16, 0_u32..16), 1..30),
        ) {
            let mut rules: Vec<ClientRule> = Vec::new();
            let mut known: Vec<Prefix> = Vec::new();
            for (high, low, len, v6) in prefixes {
                let bits = (high << 28 | low) & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                let ip = if v6 {
                    IpAddr::V6(core::net::Ipv6Addr::from_bits(u128::from(bits) << 96))
                } else {
                    IpAddr::V4(bits.into())
                };
                let prefix: Prefix = format!("{ip}/{len}").parse().unwrap();
                if !known.contains(&prefix) {
                    known.push(prefix);
                    rules.push(ClientRule { prefixes: vec![prefix], ..ClientRule::default() });
                }
            }
            let clients = Clients::compile(&rules, false, NAMES).unwrap();
            for (high, low) in probes {
                let bits = high << 28 | low;
                for ip in [IpAddr::V4(bits.into()), IpAddr::V6(core::net::Ipv6Addr::from_bits(u128::from(bits) << 96 | 7))] {
                    let holding = (0..known.len()).filter(|&number| known[number].holds(ip));
                    let naive = holding.min_by_key(|&number| known[number].span().0.last - known[number].span().0.first);
                    let found = clients.policy(clients.find(&Requester { ip, mac: None })).rule();
                    prop_assert_eq!(found, naive, "{}", ip);
                }
            }
        }
    }
}
