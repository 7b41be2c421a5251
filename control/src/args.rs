//! The command line of `bypassd`. Flags keep the spelling of DPDK's own where there is one, and override the configuration file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::address::PortAddress;
use crate::budget::Budget;
use crate::defaults;
use crate::device::{InterfaceName, PciDevice, Vdev};
use crate::lcores::LcoreList;
use crate::log::{LogFormat, LogLevel};
use crate::map_test::MapTestArgs;
use crate::metrics::Listen;

/// `bypassd`.
#[derive(Debug, Parser)]
#[command(
    name = "bypassd",
    version,
    about = "Network-boot and file-transfer appliance: read-only TFTP on DPDK, past the kernel"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `bypassd` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the content root in the foreground, until SIGTERM, SIGINT or `bypassctl stop`
    Run(RunArgs),
    /// Say what this machine lacks for a run with these flags, and how to mend it; changes nothing, needs no root, hugepages or NIC
    Check(CheckArgs),
    /// Say, rule by rule, which file a client gets for a name, and on which terms; needs neither root nor DPDK
    MapTest(MapTestArgs),
}

const EXAMPLES: &str = "\
Examples:
  A lab on one machine; the kernel sees the other end as interface boot0:
    bypassd run --root /srv/tftp --vdev net_tap0,iface=boot0 --address 192.0.2.1/24

  One end of a veth pair, control on CPU 0 and one worker on CPU 1:
    bypassd run --vdev net_af_packet0,iface=veth0 --address 192.0.2.1/24 -l 0-1

  Two NICs bound to vfio-pci, control on CPU 0 and three workers:
    bypassd run -a 0000:03:00.0 -a 0000:03:00.1 --address 0=192.0.2.1/24 --address 1=198.51.100.1/24 -l 0-3

  Anything else that EAL takes, after `--`; it wins over what bypassd would choose:
    bypassd run --config /etc/bypassd.toml -- --socket-mem 512 --log-level lib.eal:debug

Signals: SIGTERM and SIGINT let running transfers finish within the drain time; a second one stops at once.
Exit status: 0 ended as asked, 1 a worker or the start failed, 2 wrong usage or configuration.";

/// The defaults that an operator asks for first.
fn defaults_help() -> String {
    format!(
        "{EXAMPLES}\n\n\
         Defaults (each can be set in the configuration file):\n\
         \x20 [limits]  max_sessions {}, max_unproven {}, max_unproven_per_address {}, max_window_blocks {},\n\
         \x20           max_window_bytes {}, max_blksize {}, error_budget_per_second {}, idle_seconds {}, total_seconds {}\n\
         \x20 [timers]  retransmit_initial_ms {}, retransmit_min_ms {}, retransmit_max_ms {}, tries {}, drain_seconds {}\n\
         \x20 [names]   fold_case {}, backslash {}\n\
         \x20 [access]  default_action \"allow\", deny \"drop\"; who gets what: [[client]], [[remap]], `bypassd map-test --help`\n\
         \x20 [network] reply_ports \"1024-65535\", single_port false\n\
         \x20 [files]   budget \"{}%\", preload [], watch_seconds {}\n\
         \x20 [worker]  idle_sleep_us {}, rx_descriptors {}, tx_descriptors {}, frames {}, mtu {},\n\
         \x20           zero_copy_min_bytes {}\n\
         \x20 [control] mode \"{:04o}\"\n\
         \x20 [log]     format \"text\", level \"info\", timestamps {}, transfers {}, refusals_per_second {}",
        defaults::MAX_SESSIONS,
        defaults::MAX_UNPROVEN,
        defaults::MAX_UNPROVEN_PER_ADDRESS,
        defaults::MAX_WINDOW_BLOCKS,
        defaults::MAX_WINDOW_BYTES,
        defaults::MAX_BLKSIZE,
        defaults::ERROR_BUDGET_PER_SECOND,
        defaults::IDLE_SECONDS,
        defaults::TOTAL_SECONDS,
        defaults::RETRANSMIT_INITIAL_MS,
        defaults::RETRANSMIT_MIN_MS,
        defaults::RETRANSMIT_MAX_MS,
        defaults::TRIES,
        defaults::DRAIN_SECONDS,
        defaults::FOLD_CASE,
        defaults::BACKSLASH,
        defaults::CACHE_BUDGET_PERCENT,
        defaults::WATCH_SECONDS,
        defaults::IDLE_SLEEP_US,
        defaults::RX_DESCRIPTORS,
        defaults::TX_DESCRIPTORS,
        defaults::FRAMES,
        defaults::MTU,
        defaults::ZERO_COPY_MIN_BYTES,
        defaults::CONTROL_MODE,
        defaults::LOG_TIMESTAMPS,
        defaults::LOG_TRANSFERS,
        defaults::LOG_REFUSALS_PER_SECOND,
    )
}

/// The flags of `bypassd run`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = defaults_help())]
pub struct RunArgs {
    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory to serve; files readable by others, loaded into memory at start [default: /tftp]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Memory for the files: 4GiB, bytes, or 50% of what is free. What does not fit is loaded when it is asked for [default: 80%]
    #[arg(long, value_name = "SIZE")]
    pub cache_budget: Option<Budget>,

    /// Address of ours with its prefix length; repeatable. With several ports, say of which: 1=198.51.100.1/24.
    /// Given at all, it replaces the addresses of the configuration file
    #[arg(long = "address", value_name = "[N=]CIDR")]
    pub addresses: Vec<PortAddress>,

    /// Virtual device, as testpmd takes it: net_tap0,iface=boot0; repeatable.
    /// Any --vdev or -a replaces all devices of the configuration file
    #[arg(long = "vdev", value_name = "STR")]
    pub vdevs: Vec<Vdev>,

    /// PCI device to use, bound to vfio-pci (or of a bifurcated driver): 0000:03:00.0; repeatable
    #[arg(short = 'a', long = "allow", value_name = "PCI")]
    pub allow: Vec<PciDevice>,

    /// Lcores: 0-1, 0,2-3 or 10@0,11@1. The first is control's, the others are workers; a single one is shared by both.
    /// Without it: control on the first CPU that this process may use, one worker on the second
    #[arg(short = 'l', long = "lcores", value_name = "LCORES")]
    pub lcores: Option<LcoreList>,

    /// Socket for bypassctl [default: $RUNTIME_DIRECTORY/control.sock, or /run/bypassd/control.sock for root,
    /// or $XDG_RUNTIME_DIR/bypassd/control.sock]
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,

    /// Give every frame that is not ours to a kernel interface of this name, and take its frames; the kernel then answers ARP, ND and ping
    #[arg(long, value_name = "IFNAME")]
    pub kernel_interface: Option<InterfaceName>,

    /// Offer metrics (OpenMetrics, for Prometheus) at http://ADDR:PORT/metrics on the host's own network, to everyone who reaches that
    /// address; off without it
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<Listen>,

    /// What the log looks like and where it goes [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What the log says at least [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// End, with status 0, after this many seconds without a transfer
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
    pub exit_when_idle: Option<u32>,

    /// Take the NIC through which the default route leads away from the kernel, and with it perhaps the connection that you are on
    #[arg(long)]
    pub allow_default_route: bool,

    /// Further EAL arguments, passed on unchanged and last
    #[arg(last = true, allow_hyphen_values = true, value_name = "EAL ARGS")]
    pub eal: Vec<String>,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  bypassd check --config /etc/bypassd.toml
  bypassd check -a 0000:03:00.0 --address 192.0.2.1/24 -l 0-3 --json | jq '.checks[] | select(.status != \"ok\")'

`bypassd run` makes the same checks first, but for those that walk the content root, and ends on a failure.

Exit status: 0 all is ok, 1 there are warnings, 2 there are failures (a run would not begin) or wrong usage.";

/// The flags of `bypassd check`: those of the run that is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = CHECK_EXAMPLES, after_long_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,

    /// Show the checks too that are of no concern to this run, or that this machine does not answer
    #[arg(long)]
    pub all: bool,

    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(words: &[&str]) -> Result<RunArgs, clap::Error> {
        match Cli::try_parse_from([&["bypassd", "run"], words].concat())?.command {
            Command::Run(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_interface_is_understood() {
        let args = run(&[
            "--config",
            "c.toml",
            "--root",
            "/srv",
            "--cache-budget",
            "4GiB",
            "--address",
            "0=192.0.2.1/24",
            "--address",
            "1=2001:db8::1/64",
            "--vdev",
            "net_null0",
            "-a",
            "03:00.0",
            "-l",
            "0-1",
            "--control",
            "/tmp/s",
            "--kernel-interface",
            "boot0",
            "--metrics",
            "127.0.0.1:9569",
            "--exit-when-idle",
            "5",
            "--",
            "--log-level",
            "8",
            "-m",
            "64",
        ])
        .unwrap();
        assert_eq!(args.addresses.len(), 2);
        assert_eq!(args.vdevs[0].name(), "net_null0");
        assert_eq!(args.allow[0].address(), "0000:03:00.0");
        assert_eq!(args.metrics.unwrap().to_string(), "127.0.0.1:9569");
        assert_eq!(args.exit_when_idle, Some(5));
        assert_eq!(args.cache_budget, Some(Budget::Bytes(4 << 30)));
        assert_eq!(args.eal, ["--log-level", "8", "-m", "64"]);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_reason() {
        for (words, reason) in [
            (&["--address", "192.0.2.1"][..], "prefix length"),
            (&["-l", "1-0"], "runs backwards"),
            (&["-a", "eth0"], "no PCI device"),
            (&["--vdev", "tap0"], "net_"),
            (&["--metrics", "9569"], "no address and port"),
            (&["--exit-when-idle", "0"], "not in 1..="),
            (&["--cache-budget", "4GB"], "no cache budget"),
        ] {
            let error = run(words).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_help_shows_examples_and_defaults() {
        let help = Cli::command().find_subcommand_mut("run").unwrap().render_long_help().to_string();
        for part in [
            "net_tap0,iface=boot0",
            "[default: /tftp]",
            "[files]   budget \"80%\"",
            "max_sessions 64000",
            "frames 8191",
            "mode \"0600\"",
            "--socket-mem",
        ] {
            assert!(help.contains(part), "{part} is missing in\n{help}");
        }
    }
}
