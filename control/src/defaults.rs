//! Every default of the appliance, in one place: the configuration, the help text and `configs/pci-appliance.toml` are checked against it.

/// Content root. It may itself be a symlink.
pub const ROOT: &str = "/tftp";

/// Memory that the files may take, in percent of what is free at start. The rest is for everything else, and for a reload.
pub const CACHE_BUDGET_PERCENT: u8 = 80;

/// Directory of the control socket for a root daemon outside of systemd.
pub const CONTROL_DIRECTORY: &str = "/run/bypassd";

/// File name of the control socket.
pub const CONTROL_FILE: &str = "control.sock";

/// Permissions of the control socket: its owner only.
pub const CONTROL_MODE: u32 = 0o600;

/// Transfers at a time on each port, all workers together.
pub const MAX_SESSIONS: u32 = 64_000;

/// Transfers whose client has not yet acknowledged anything, all workers together (a forged source never does).
pub const MAX_UNPROVEN: u32 = 16_384;

/// The same for one client address.
pub const MAX_UNPROVEN_PER_ADDRESS: u32 = 256;

/// Largest window granted, in blocks (RFC 7440).
pub const MAX_WINDOW_BLOCKS: u8 = 64;

/// Largest window granted, in bytes.
pub const MAX_WINDOW_BYTES: u32 = 1 << 20;

/// Largest block size granted, in bytes (RFC 2348 ends at 65464); the port's MTU limits it too.
pub const MAX_BLKSIZE: u16 = 65_464;

/// ERROR packets per second to one client prefix (IPv4 /24, IPv6 /64). A rack of PXELINUX clients asks for ten absent names each.
pub const ERROR_BUDGET_PER_SECOND: u32 = 1_000;

/// A transfer whose client chose its own retransmission timeout (RFC 2349) is given up after so long without progress;
/// others after `tries`.
pub const IDLE_SECONDS: u32 = 120;

/// A transfer that lasts longer than this is given up.
pub const TOTAL_SECONDS: u32 = 14_400;

/// Shortest retransmission timeout. RFC 6298 section 2.4 asks for one second because of TCP's delayed ACKs; TFTP has none.
pub const RETRANSMIT_MIN_MS: u32 = 50;

/// Longest retransmission timeout, unless the client asked for a longer one (RFC 2349).
pub const RETRANSMIT_MAX_MS: u32 = 8_000;

/// Retransmission timeout before the first measured round trip (RFC 6298 section 2.1).
pub const RETRANSMIT_INITIAL_MS: u32 = 1_000;

/// Timed repeats of the same packet before a transfer is given up.
pub const TRIES: u8 = 10;

/// How long running transfers may go on after a request to end.
pub const DRAIN_SECONDS: u32 = 30;

/// Seconds between two looks at the tree below the root, which is loaded again when it has changed and is quiet; 0: never.
pub const WATCH_SECONDS: u32 = 0;

/// Whether names are looked up without regard to letter case.
pub const FOLD_CASE: bool = false;

/// Whether `\` separates names as `/` does.
pub const BACKSLASH: bool = true;

/// Sleep of a worker that finds nothing to do; 0: it keeps polling.
pub const IDLE_SLEEP_US: u32 = 0;

/// The same where a worker shares its CPU with another lcore and nothing was configured: polling would starve the other.
pub const SHARED_CPU_IDLE_SLEEP_US: u32 = 50;

/// Receive ring, per worker and port.
pub const RX_DESCRIPTORS: u16 = 1_024;

/// Transmit ring, per worker and port.
pub const TX_DESCRIPTORS: u16 = 1_024;

/// Frame buffers (mbufs) per worker; DPDK's optimum is a power of two less one.
pub const FRAMES: u32 = 8_191;

/// Largest IP packet on a port, in bytes.
pub const MTU: u16 = 1_500;

/// Blocks of at least so many bytes go out by reference to the files' memory where the port can; 0: all are copied.
///
/// Measured on one core of an EPYC virtual machine, `net_ring`, 32 frames per burst, blocks at random places, 32 and 960 frames in
/// flight, copy against reference, median ns per frame. Blocks out of 64 KiB: 512 bytes 52/64 and 77/109, 1024 bytes 64/64 and
/// 116/138, 1428 bytes 79/64 and 144/160. Out of 8 MiB: 83/63 and 186/163, 113/69 and 232/175, 124/64 and 302/200. Out of 384 MiB:
/// 170/62 and 362/242, 277/63 and 446/252, 350/65 and 493/251. Where a few hot blocks are all, copying stays ahead up to about here;
/// with real files it loses long before.
pub const ZERO_COPY_MIN_BYTES: u16 = 1_024;

/// Whether lines of the log for people begin with the time. The journal gives them one of its own.
pub const LOG_TIMESTAMPS: bool = false;

/// Whether the log has a line for each transfer that ended and each request that was refused.
pub const LOG_TRANSFERS: bool = true;

/// Refused requests that get a line, per second: a PXELINUX client asks for ten absent names.
pub const LOG_REFUSALS_PER_SECOND: u32 = 100;

/// Whether DPDK's secondary processes (dpdk-dumpcap, dpdk-proc-info) may attach.
pub const SECONDARY_PROCESSES: bool = false;

/// Whether a NIC through which the default route leads may be taken away from the kernel.
pub const ALLOW_DEFAULT_ROUTE: bool = false;

/// Memory for EAL, drivers and rings beside the frame buffers.
pub const EAL_BASE_MIB: u64 = 96;

/// Ports that transfers are served from; lower ones belong to services.
pub const REPLY_PORTS: dataplane::session::ReplyPorts =
    dataplane::session::ReplyPorts::Range { first: 1_024, last: 65_535 };
