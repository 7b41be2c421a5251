//! The same rungs with a real descriptor ring between two processes: the server on `net_vhost`, the generator, this program
//! again, on `net_virtio_user`, each on a CPU of its own. One link per rung; only one is busy at a time.
//!
//! What is measured is the wall time of the server's loop per frame that it sent, with the generator always having several
//! bursts under way. On this link both sides copy every frame: that is the link's cost, and the same for all rungs. R0 cuts its
//! frames to a DATA packet's length, so that the same bytes cross as with R1 and R2.

use super::case::Clock;
use super::content::{ContentError, Layout, Regime};
use super::generator::{PREFIX_LEN, SERVER, Shape};
use super::hugepages::{HugepageError, Reservation};
use super::report::Case;
use super::rungs::{Bare, Full, FullConfig, Null, Rung};
use super::setup::{Machine, SetupError, mtu};
use super::statistics::{Stopwatch, Windows, noise};
use core::net::IpAddr;
use dataplane::engine::{LocalAddress, TooManyAddresses};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use thiserror::Error;

/// Transfers at a time; as many frames are under way.
pub(super) const TRANSFERS: u32 = 256;

/// Blocks of a file: more than a transfer comes to in a run.
const FILE_BLOCKS: u64 = 48_000;

/// Replies per rung that the generator checks to the last byte.
const VERIFIED_REPLIES: u64 = 8_192;

/// What a command of ours may take, in seconds.
const PATIENCE_S: u64 = 30;

/// The order of the links.
pub(super) const LINKS: [&str; 3] = ["R0", "R1", "R2"];

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum VhostError {
    /// No hugepages.
    #[error(transparent)]
    Hugepages(#[from] HugepageError),
    /// No ports.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No files.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// No engine.
    #[error(transparent)]
    Address(#[from] TooManyAddresses),
    /// The generator did not start, or its pipe broke.
    #[error("the generator's process: {0}")]
    Pipe(#[from] io::Error),
    /// It ended before it was told to; it says why on standard error.
    #[error("the generator ended before its time")]
    GeneratorGone,
    /// No answer.
    #[error("the generator did not answer `{0}` in {PATIENCE_S} s")]
    NoAnswer(String),
    /// One CPU is not enough.
    #[error("two CPUs are needed, one for the server and one for the generator")]
    OneCpu,
}

/// What the generator is told to read.
pub(super) fn shape(blksize: u16) -> Shape {
    let layout = Layout { files: 4, file_bytes: FILE_BLOCKS * u64::from(blksize) };
    Shape { blksize, windowsize: 1, layout, tsize: false }
}

/// The generator's process. Ends it when dropped.
struct Generator {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Generator {
    fn spawn(sockets: &Path, blksize: u16, cpu: u32) -> Result<Self, VhostError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["ladder", "--cpu", &cpu.to_string(), "--blksize", &blksize.to_string(), "--vhost-peer"])
            .arg(sockets)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let (sender, answers) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, orders, answers })
    }

    fn tell(&mut self, order: &str) -> Result<(), VhostError> {
        let pipe = self.orders.as_mut().ok_or(VhostError::GeneratorGone)?;
        writeln!(pipe, "{order}")?;
        Ok(pipe.flush()?)
    }

    /// Waits for `answer`, polling the rung meanwhile.
    fn await_answer(&self, clock: &Clock, rung: &mut impl Rung, answer: &str) -> Result<(), VhostError> {
        let until = clock.tsc.ticks() + PATIENCE_S * clock.tsc.hz();
        while clock.tsc.ticks() < until {
            match self.answers.try_recv() {
                Ok(line) if line == answer => return Ok(()),
                Ok(_) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(VhostError::GeneratorGone),
            }
            rung.poll();
        }
        Err(VhostError::NoAnswer(answer.to_owned()))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It ends at the end of its input; one that hangs is ended.
        self.orders = None;
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory for the sockets; removed when dropped.
struct SocketDirectory(PathBuf);

impl SocketDirectory {
    fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("bypassbench-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the rung number `link` and the generator meet.
pub(super) fn socket(directory: &Path, link: usize) -> PathBuf {
    directory.join(format!("link{link}"))
}

/// EAL on hugepages for the server's side, and the pages that were reserved for both.
pub(crate) fn start(cpu: u32) -> Result<(Reservation, Machine, u32), VhostError> {
    let cpus = u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX);
    if cpus < 2 {
        return Err(VhostError::OneCpu);
    }
    let reservation = Reservation::make()?;
    Ok((reservation, Machine::start_on_hugepages(cpu)?, (cpu + 1) % cpus))
}

/// Measures one block size.
pub(crate) fn measure(
    machine: &mut Machine,
    clock: &Clock,
    blksize: u16,
    peer_cpu: u32,
    rounds: u32,
    windows: u32,
) -> Result<Case, VhostError> {
    let shape = shape(blksize);
    let directory = SocketDirectory::make()?;
    let mut ports = Vec::new();
    for link in 0..LINKS.len() {
        let path = socket(&directory.0, link);
        ports.push(machine.attach("net_vhost", &format!("iface={},queues=1", path.display()), blksize)?);
    }
    let missing = || SetupError::QueuesMissing("net_vhost".to_owned());
    let (full, null, bare) =
        (ports.pop().ok_or_else(missing)?, ports.pop().ok_or_else(missing)?, ports.pop().ok_or_else(missing)?);
    let config = FullConfig {
        catalogue: Arc::new(shape.layout.build()?),
        mac: SERVER.mac,
        address: LocalAddress { ip: IpAddr::V4(SERVER.ip), prefix_len: PREFIX_LEN },
        mtu: mtu(blksize),
        sessions: TRANSFERS,
    };
    let mut r0 = Bare::new(bare, Some(shape.data_frame_len()));
    let mut r1 = Null::new(null, vec![0x5A; usize::from(blksize)], 1);
    let mut r2 = Full::new(full, config, machine.tsc)?;

    let mut peer = Generator::spawn(&directory.0, blksize, peer_cpu)?;
    peer.await_answer(clock, &mut r0, "ready")?;
    r2.resume();
    peer.tell("open")?;
    peer.await_answer(clock, &mut r2, "open")?;
    r2.pause();
    verify(&mut peer, clock, 0, &mut r0)?;
    verify(&mut peer, clock, 1, &mut r1)?;
    verify(&mut peer, clock, 2, &mut r2)?;
    let mut measured: [Windows; 4] = Default::default();
    let [r0a_windows, r1_windows, r2_windows, r0b_windows] = &mut measured;
    for _ in 0..rounds {
        round(&mut peer, clock, 0, &mut r0, r0a_windows, windows)?;
        round(&mut peer, clock, 1, &mut r1, r1_windows, windows)?;
        round(&mut peer, clock, 2, &mut r2, r2_windows, windows)?;
        round(&mut peer, clock, 0, &mut r0, r0b_windows, windows)?;
    }
    Ok(Case {
        blksize,
        windowsize: 1,
        content: Regime::Hot,
        sessions: TRANSFERS,
        files: shape.layout.files,
        content_bytes: shape.layout.all_bytes(),
        r0a: r0a_windows.summary(),
        r0b: r0b_windows.summary(),
        r1: r1_windows.summary(),
        r2: r2_windows.summary(),
        noise_cycles: noise(r0a_windows, r0b_windows),
        verified_replies: VERIFIED_REPLIES * LINKS.len() as u64,
        blocks_again: r2.counters().blocks_again.get(),
        reopened: 0,
    })
}

fn verify(peer: &mut Generator, clock: &Clock, link: usize, rung: &mut impl Rung) -> Result<(), VhostError> {
    rung.resume();
    peer.tell(&format!("verify {link} {VERIFIED_REPLIES}"))?;
    peer.await_answer(clock, rung, "verified")?;
    rung.pause();
    Ok(())
}

/// Wall time per frame sent, for some windows behind a first one that does not count.
fn round(
    peer: &mut Generator,
    clock: &Clock,
    link: usize,
    rung: &mut impl Rung,
    into: &mut Windows,
    windows: u32,
) -> Result<(), VhostError> {
    rung.resume();
    peer.tell(&format!("run {link}"))?;
    peer.await_answer(clock, rung, "running")?;
    into.begin_round();
    let (mut complete, mut good) = (0, 0);
    let mut stopwatch = Stopwatch::start(&clock.tsc);
    let (mut last, mut sent) = (clock.tsc.ticks(), rung.sent());
    while good < windows && complete <= 4 * windows {
        rung.poll();
        let now = clock.tsc.ticks();
        let sent_now = rung.sent();
        if let Some(window) = stopwatch.add(&clock.tsc, now - last, sent_now - sent) {
            if complete > 0 {
                into.push(window);
                good += u32::from(window.is_some());
            }
            complete += 1;
        }
        (last, sent) = (now, sent_now);
    }
    peer.tell("stop")?;
    peer.await_answer(clock, rung, "stopped")?;
    rung.pause();
    Ok(())
}
