//! The generator's process of the vhost topology: does what its standard input says, answers on its standard output, ends with
//! its input. Every reply is followed by the next ACK of the same transfer at once.

use super::generator::{Batch, Generator, LoadError, Replies};
use super::setup::{Machine, SetupError};
use super::verify::FRAME_MIN;
use super::vhost::{LINKS, TRANSFERS, shape, socket};
use dataplane::dpdk::QueuePair;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Bursts between two looks at the orders.
const BURSTS_PER_LOOK: u32 = 64;

/// How long nothing may come before a link counts as drained.
const SILENCE: Duration = Duration::from_millis(3);

/// How long replies may be waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the generator ends early.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    /// No ports.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A reply was wrong, or could not be asked for.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Standard output is gone.
    #[error(transparent)]
    Pipe(#[from] io::Error),
    /// Replies stopped coming.
    #[error("no reply on the link of {0} for {PATIENCE:?}")]
    Silence(&'static str),
    /// An order that is none.
    #[error("unknown order `{0}`")]
    Order(String),
}

/// Serves the orders of the server's process.
pub(crate) fn run(sockets: &Path, blksize: u16, cpu: u32) -> Result<(), PeerError> {
    let mut machine = Machine::start_on_hugepages(cpu)?;
    let mut links = Vec::new();
    for link in 0..LINKS.len() {
        let arguments = format!("path={},queues=1,queue_size=1024", socket(sockets, link).display());
        links.push(machine.attach("net_virtio_user", &arguments, blksize)?);
    }
    let shape = shape(blksize);
    let payload = vec![0x5A; usize::from(blksize)];
    let mut generator = Generator::new(TRANSFERS, shape);
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    say("ready")?;
    let replies = |link: usize| match link {
        0 => Replies::Returned,
        1 => Replies::Constant(&payload),
        _ => Replies::Files,
    };
    // The end of the orders is the end.
    while let Ok(order) = orders.recv() {
        let words: Vec<&str> = order.split(' ').collect();
        match words[..] {
            ["open"] => {
                open(&mut generator, &mut links[2])?;
                say("open")?;
            }
            ["verify", link, count] => {
                let (Ok(link @ 0..=2), Ok(count)) = (link.parse::<usize>(), count.parse::<u64>()) else {
                    return Err(PeerError::Order(order));
                };
                verify(&mut generator, &mut links[link], LINKS[link], replies(link), count)?;
                say("verified")?;
            }
            ["run", link] => {
                let Ok(link @ 0..=2) = link.parse::<usize>() else { return Err(PeerError::Order(order)) };
                prime(&mut generator, &mut links[link])?;
                say("running")?;
                keep_going(&mut generator, &mut links[link], replies(link), &orders)?;
                drain(&mut generator, &mut links[link], replies(link))?;
                say("stopped")?;
            }
            _ => return Err(PeerError::Order(order)),
        }
    }
    Ok(())
}

fn say(answer: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{answer}")?;
    output.flush()
}

/// Asks for all files and waits for all first replies.
fn open(generator: &mut Generator, port: &mut QueuePair) -> Result<(), PeerError> {
    let mut opened = 0;
    while opened < u64::from(TRANSFERS) {
        let batch = generator.next_batch();
        generator.send_requests(port, &batch)?;
        let (mut found, began) = (0, Instant::now());
        while found < batch.len() as u64 {
            found += generator.collect_first(port)?;
            if began.elapsed() > PATIENCE {
                return Err(PeerError::Silence("R2"));
            }
        }
        opened += found;
    }
    Ok(())
}

/// One ACK of every transfer.
fn prime(generator: &mut Generator, port: &mut QueuePair) -> Result<(), PeerError> {
    for _ in 0..TRANSFERS.div_ceil(32) {
        let batch = generator.next_batch();
        generator.send_acks(port, &batch, FRAME_MIN)?;
    }
    Ok(())
}

/// Checks replies to the last byte until there were `count`, and what is still under way then.
fn verify(
    generator: &mut Generator,
    port: &mut QueuePair,
    name: &'static str,
    replies: Replies<'_>,
    count: u64,
) -> Result<(), PeerError> {
    generator.verify = true;
    prime(generator, port)?;
    let (mut batch, mut found, mut last) = (Batch::new(), 0, Instant::now());
    while found < count {
        generator.collect_batch(port, replies, &mut batch)?;
        if !batch.is_empty() {
            found += batch.len() as u64;
            last = Instant::now();
            generator.send_acks(port, &batch, FRAME_MIN)?;
        } else if last.elapsed() > PATIENCE {
            return Err(PeerError::Silence(name));
        }
    }
    drain(generator, port, replies)?;
    generator.verify = false;
    Ok(())
}

/// Answers every reply by the next ACK until an order comes, or the orders end.
fn keep_going(
    generator: &mut Generator,
    port: &mut QueuePair,
    replies: Replies<'_>,
    orders: &Receiver<String>,
) -> Result<(), PeerError> {
    let mut batch = Batch::new();
    while orders.try_recv() == Err(TryRecvError::Empty) {
        for _ in 0..BURSTS_PER_LOOK {
            generator.collect_batch(port, replies, &mut batch)?;
            generator.send_acks(port, &batch, FRAME_MIN)?;
        }
    }
    Ok(())
}

/// Takes what is still under way.
fn drain(generator: &mut Generator, port: &mut QueuePair, replies: Replies<'_>) -> Result<(), PeerError> {
    let mut last = Instant::now();
    while last.elapsed() < SILENCE {
        if generator.collect(port, replies)? > 0 {
            last = Instant::now();
        }
    }
    Ok(())
}
