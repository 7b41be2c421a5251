//! Which settings can change while bypassd runs, and what a newly read configuration comes to: what holds from now on, and what needs a
//! restart. Changes nothing itself.

use std::fmt::Display;

use dataplane::rules::RuleSource;

use crate::log::LogSettings;
use crate::protocol::SettingChange;
use crate::settings::{ControlSettings, EalSettings, FilesSettings, Limits, Names, Settings, Timers, WorkerSettings};

/// A newly read configuration beside the settings that run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// What is to run from now on: the new values where they can change live, else the old ones.
    pub settings: Settings,
    /// Those that change.
    pub live: Vec<SettingChange>,
    /// Those that stay as they are until a restart.
    pub needs_restart: Vec<SettingChange>,
}

/// Compares values, key by key, and notes those that differ.
macro_rules! compare {
    ($changes:expr, $prefix:literal: $(($key:ident, $old:expr, $new:expr)),* $(,)?) => {
        $(note(&mut $changes, concat!($prefix, stringify!($key)), &$old, &$new);)*
    };
}

/// What of `read` can run in the place of `running`.
#[must_use]
pub fn renew(running: &Settings, read: &Settings) -> Renewed {
    let (mut live, mut needs_restart) = (Vec::new(), Vec::new());
    let (old, new) = (running, read);
    // Taken apart in full, here and below: a new setting has to be sorted in before this compiles.
    let Settings {
        root,
        addresses,
        kernel_interface,
        exit_when_idle,
        eal,
        files,
        rules,
        reply_ports,
        limits,
        timers,
        names,
        worker,
        control,
        log,
        metrics,
    } = old;
    compare!(live, "": (root, root.display(), new.root.display()));
    let seconds = |limit: &Option<std::time::Duration>| {
        limit.map_or_else(|| "never".to_owned(), |limit| limit.as_secs().to_string())
    };
    compare!(live, "": (exit_when_idle_seconds, seconds(exit_when_idle), seconds(&new.exit_when_idle)));
    let FilesSettings { budget, preload, watch_seconds } = files;
    let patterns =
        |all: &[dataplane::files::Pattern]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    compare!(needs_restart, "files.": (budget, budget, new.files.budget), (preload, patterns(preload), patterns(&new.files.preload)));
    compare!(live, "files.": (watch_seconds, watch_seconds, new.files.watch_seconds));
    let Names { fold_case, backslash } = names;
    compare!(live, "names.": (fold_case, fold_case, new.names.fold_case), (backslash, backslash, new.names.backslash));
    if *rules != new.rules {
        // Too long to be shown whole.
        let count =
            |rules: &RuleSource| format!("{} client, {} remap rule(s)", rules.clients.len(), rules.remaps.len());
        live.push(SettingChange { key: "client, remap, access".to_owned(), old: count(rules), new: count(&new.rules) });
    }
    compare!(needs_restart, "network.": (reply_ports, reply_ports, new.reply_ports));
    compare_limits(limits, &new.limits, &mut live, &mut needs_restart);
    compare_timers(timers, &new.timers, &mut live);

    let list = |addresses: &[(crate::address::PortIndex, crate::address::Cidr)]| {
        addresses.iter().map(|(port, cidr)| format!("{port}={cidr}")).collect::<Vec<_>>().join(" ")
    };
    compare!(needs_restart, "": (address, list(addresses), list(&new.addresses)));
    let interface = |name: &Option<crate::device::InterfaceName>| {
        name.as_ref().map_or_else(|| "none".to_owned(), |name| name.as_str().to_owned())
    };
    compare!(needs_restart, "": (kernel_interface, interface(kernel_interface), interface(&new.kernel_interface)));
    compare_eal(eal, &new.eal, &mut needs_restart);
    compare_worker(worker, &new.worker, &mut needs_restart);
    let ControlSettings { socket, mode, group } = control;
    let octal = |mode: u32| format!("{mode:04o}");
    compare!(needs_restart, "control.":
        (socket, socket.display(), new.control.socket.display()),
        (mode, octal(*mode), octal(new.control.mode)),
        (group, or_none(group), or_none(&new.control.group)),
    );

    compare_log(log, &new.log, &mut live, &mut needs_restart);
    compare!(needs_restart, "metrics.": (listen, or_none(metrics), or_none(&new.metrics)));

    let max_sessions = limits.max_sessions;
    let settings = Settings {
        root: new.root.clone(),
        exit_when_idle: new.exit_when_idle,
        files: FilesSettings { watch_seconds: new.files.watch_seconds, ..files.clone() },
        log: LogSettings { level: new.log.level, ..log.clone() },
        // The memory of the sessions is allocated: other limits are right for it, or are brought down to it.
        limits: Limits { max_sessions, max_unproven: new.limits.max_unproven.min(max_sessions), ..new.limits.clone() },
        timers: new.timers.clone(),
        names: new.names.clone(),
        rules: new.rules.clone(),
        ..old.clone()
    };
    Renewed { settings, live, needs_restart }
}

fn compare_limits(old: &Limits, new: &Limits, live: &mut Vec<SettingChange>, needs_restart: &mut Vec<SettingChange>) {
    let Limits {
        max_sessions,
        max_unproven,
        max_unproven_per_address,
        max_window_blocks,
        max_window_bytes,
        max_blksize,
        error_budget_per_second,
        idle_seconds,
        total_seconds,
    } = old;
    compare!(*needs_restart, "limits.": (max_sessions, max_sessions, new.max_sessions));
    compare!(*live, "limits.":
        (max_unproven, max_unproven, new.max_unproven),
        (max_unproven_per_address, max_unproven_per_address, new.max_unproven_per_address),
        (max_window_blocks, max_window_blocks, new.max_window_blocks),
        (max_window_bytes, max_window_bytes, new.max_window_bytes),
        (max_blksize, max_blksize, new.max_blksize),
        (error_budget_per_second, error_budget_per_second, new.error_budget_per_second),
        (idle_seconds, idle_seconds, new.idle_seconds),
        (total_seconds, total_seconds, new.total_seconds),
    );
}

fn compare_timers(old: &Timers, new: &Timers, live: &mut Vec<SettingChange>) {
    let Timers { retransmit_initial_ms, retransmit_min_ms, retransmit_max_ms, tries, drain_seconds } = old;
    compare!(*live, "timers.":
        (retransmit_initial_ms, retransmit_initial_ms, new.retransmit_initial_ms),
        (retransmit_min_ms, retransmit_min_ms, new.retransmit_min_ms),
        (retransmit_max_ms, retransmit_max_ms, new.retransmit_max_ms),
        (tries, tries, new.tries),
        (drain_seconds, drain_seconds, new.drain_seconds),
    );
}

fn compare_eal(old: &EalSettings, new: &EalSettings, needs_restart: &mut Vec<SettingChange>) {
    let EalSettings {
        vdevs,
        allow,
        allow_default_route,
        lcores,
        huge,
        memory_mib,
        file_prefix,
        secondary_processes,
        extra,
    } = old;
    let all_vdevs =
        |all: &[crate::device::Vdev]| all.iter().map(crate::device::Vdev::as_str).collect::<Vec<_>>().join(" ");
    let all_pci = |all: &[crate::device::PciDevice]| {
        all.iter().map(crate::device::PciDevice::as_str).collect::<Vec<_>>().join(" ")
    };
    let cpus = |lcores: &Option<crate::lcores::LcoreList>| {
        lcores.as_ref().map_or_else(|| "chosen".to_owned(), |list| list.as_str().to_owned())
    };
    compare!(*needs_restart, "eal.":
        (vdev, all_vdevs(vdevs), all_vdevs(&new.vdevs)),
        (allow, all_pci(allow), all_pci(&new.allow)),
        (allow_default_route, allow_default_route, new.allow_default_route),
        (lcores, cpus(lcores), cpus(&new.lcores)),
        (huge, or_none(huge), or_none(&new.huge)),
        (memory_mib, or_none(memory_mib), or_none(&new.memory_mib)),
        (file_prefix, or_none(file_prefix), or_none(&new.file_prefix)),
        (secondary_processes, secondary_processes, new.secondary_processes),
        (extra, extra.join(" "), new.extra.join(" ")),
    );
}

fn compare_log(
    old: &LogSettings,
    new: &LogSettings,
    live: &mut Vec<SettingChange>,
    needs_restart: &mut Vec<SettingChange>,
) {
    let LogSettings { format, level, timestamps, transfers, transfer_file, refusals_per_second } = old;
    let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let file = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    };
    compare!(*live, "log.": (level, word(level), word(&new.level)));
    compare!(*needs_restart, "log.":
        (format, word(format), word(&new.format)),
        (timestamps, timestamps, new.timestamps),
        (transfers, transfers, new.transfers),
        (transfer_file, file(transfer_file), file(&new.transfer_file)),
        (refusals_per_second, refusals_per_second, new.refusals_per_second),
    );
}

fn compare_worker(old: &WorkerSettings, new: &WorkerSettings, needs_restart: &mut Vec<SettingChange>) {
    let WorkerSettings { idle_sleep_us, rx_descriptors, tx_descriptors, frames, mtu, zero_copy_min_bytes } = old;
    compare!(*needs_restart, "worker.":
        (idle_sleep_us, idle_sleep_us, new.idle_sleep_us),
        (rx_descriptors, rx_descriptors, new.rx_descriptors),
        (tx_descriptors, tx_descriptors, new.tx_descriptors),
        (frames, frames, new.frames),
        (mtu, mtu, new.mtu),
        (zero_copy_min_bytes, zero_copy_min_bytes, new.zero_copy_min_bytes),
    );
}

fn or_none<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn note(changes: &mut Vec<SettingChange>, key: &str, old: &dyn Display, new: &dyn Display) {
    let (old, new) = (old.to_string(), new.to_string());
    if old != new {
        changes.push(SettingChange { key: key.to_owned(), old, new });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::config::ConfigFile;
    use crate::settings::Environment;

    fn settings(flags: &str, text: &str) -> Settings {
        let words = ["bypassd", "run", "--vdev", "net_null0"].into_iter().chain(flags.split_whitespace());
        let Command::Run(args) = Cli::parse_from(words).command else { unreachable!("it says `run`") };
        let file = ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap();
        Settings::resolve(args, Some(&file), &Environment::default()).unwrap()
    }

    const ADDRESS: &str = "--address 192.0.2.1/24";

    fn keys(changes: &[SettingChange]) -> Vec<String> {
        changes.iter().map(|change| format!("{} {}->{}", change.key, change.old, change.new)).collect()
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let text = "root = \"/a\"\n[limits]\nmax_sessions = 100000\n[names]\nfold_case = true\n";
        let running = settings(ADDRESS, text);
        let renewed = renew(&running, &settings(ADDRESS, text));
        assert_eq!((renewed.live, renewed.needs_restart), (Vec::new(), Vec::new()));
        assert_eq!(renewed.settings, running);
    }

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let running = settings(ADDRESS, "exit_when_idle_seconds = 5\n");
        let read = settings(
            "--address 192.0.2.9/24 -l 0-2",
            "root = \"/new\"\nkernel_interface = \"k0\"\n[files]\nwatch_seconds = 3\n\
             [limits]\nmax_sessions = 65000\nmax_blksize = 1024\n\
             [timers]\ntries = 3\ndrain_seconds = 0\n[names]\nbackslash = false\n\
             [worker]\nmtu = 9000\n[eal]\nmemory_mib = 512\nextra = [\"--log-level\", \"8\"]\n[control]\nmode = \"0660\"\n",
        );
        let renewed = renew(&running, &read);
        assert_eq!(
            keys(&renewed.live),
            [
                "root /tftp->/new",
                "exit_when_idle_seconds 5->never",
                "files.watch_seconds 0->3",
                "names.backslash true->false",
                "limits.max_blksize 65464->1024",
                "timers.tries 10->3",
                "timers.drain_seconds 30->0",
            ]
        );
        assert_eq!(
            keys(&renewed.needs_restart),
            [
                "limits.max_sessions 64000->65000",
                "address 0=192.0.2.1/24->0=192.0.2.9/24",
                "kernel_interface none->k0",
                "eal.lcores chosen->0-2",
                "eal.memory_mib none->512",
                "eal.extra ->--log-level 8",
                "worker.mtu 1500->9000",
                "control.mode 0600->0660",
            ]
        );
        assert_eq!((renewed.settings.limits.max_sessions, renewed.settings.limits.max_blksize), (64_000, 1_024));
        assert_eq!((renewed.settings.worker.mtu, renewed.settings.root.as_path()), (1_500, Path::new("/new")));
        assert_eq!(renewed.settings.addresses, running.addresses);
        let again = renew(&renewed.settings, &read);
        assert_eq!(
            (again.live.len(), again.needs_restart.len()),
            (0, 8),
            "a restart is still needed, the rest is done"
        );
    }

    #[test]
    fn limits_stay_within_the_sessions_that_there_is_memory_for() {
        let running = settings(ADDRESS, "[limits]\nmax_sessions = 1000\nmax_unproven = 500\n");
        let read = settings(ADDRESS, "[limits]\nmax_sessions = 9000\nmax_unproven = 8000\n");
        let limits = renew(&running, &read).settings.limits;
        assert_eq!((limits.max_sessions, limits.max_unproven), (1_000, 1_000));
    }
}
