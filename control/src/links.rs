//! Watches the ports' links from a thread of its own: asks each once a second and whenever a device hints that something changed, logs
//! what came and went, and has our addresses announced where a link is back. Never waits for a worker.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::protocol::Link;

/// How often links are asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The least time between two looks: a cable with a loose contact must not fill the log.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// A port and its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLink {
    /// DPDK's number.
    pub port: u16,
    /// Device name.
    pub name: String,
    /// Its link; `None` when the driver cannot tell.
    pub link: Option<Link>,
}

/// The ports that are watched. All of it returns at once.
pub trait Ports: Send + Sync {
    /// Their links now, in an order that never changes.
    fn links(&self) -> Vec<PortLink>;

    /// Counts a link that was there and is gone, for `show port stats`.
    fn note_loss(&self, port: u16);

    /// Asks for our addresses to be announced on a port; false when that has to be tried again.
    fn announce(&self, port: u16) -> bool;
}

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The port as it is now.
    pub port: PortLink,
    /// What happened.
    pub what: What,
}

/// See [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is not there when it is first looked at.
    Missing,
    /// It was there.
    Lost,
    /// It was missing or lost for so long.
    Up(Duration),
    /// It stayed up but for what we saw, and has another speed.
    Speed,
}

impl Change {
    /// Whether the link is there now.
    #[must_use]
    pub fn link_is_up(&self) -> bool {
        matches!(self.what, What::Up(_) | What::Speed)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortLink { port, name, link } = &self.port;
        write!(f, "port {port} ({name}): link ")?;
        let speed = |f: &mut fmt::Formatter<'_>| match link.and_then(|link| link.speed_mbps) {
            Some(speed) => write!(f, ", {speed} Mbit/s"),
            None => Ok(()),
        };
        match self.what {
            What::Missing => f.write_str("down: is the cable in, and the other end up?"),
            What::Lost => f.write_str("down: it was up, look at the cable and the other end"),
            What::Up(after) => {
                f.write_str("up")?;
                speed(f)?;
                write!(f, ", after {:.1} s without", after.as_secs_f64())
            }
            What::Speed => {
                f.write_str("up")?;
                speed(f)
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    link: Link,
    /// When it went, or was first seen to be missing.
    down_since: Duration,
}

/// What is known of the links, from look to look. Pure.
#[derive(Debug, Default)]
pub struct LinkWatch {
    /// In the order of the ports.
    seen: Vec<Option<Seen>>,
}

impl LinkWatch {
    /// Takes a look that was made at this moment, not before the last one.
    pub fn look(&mut self, now: Duration, ports: Vec<PortLink>) -> Vec<Change> {
        self.seen.resize(ports.len(), None);
        let change = |(port, seen): (PortLink, &mut Option<Seen>)| {
            let link = port.link?;
            let before = seen.replace(Seen { link, down_since: now });
            let what = match before {
                None if link.up => None,
                None => Some(What::Missing),
                Some(before) if before.link.up && !link.up => Some(What::Lost),
                Some(before) if !before.link.up && link.up => Some(What::Up(now.saturating_sub(before.down_since))),
                Some(before) if link.up && before.link.speed_mbps != link.speed_mbps => Some(What::Speed),
                Some(before) => {
                    *seen = Some(Seen { link, ..before });
                    None
                }
            }?;
            Some(Change { port, what })
        };
        ports.into_iter().zip(&mut self.seen).filter_map(change).collect()
    }
}

/// The thread that watches, until this is dropped.
#[derive(Debug)]
pub struct LinkListener {
    hint: Arc<OwnedFd>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What devices write to when their link changes (`eventfd(2)`).
///
/// # Errors
/// The system has no file left.
pub fn hint() -> io::Result<Arc<OwnedFd>> {
    Ok(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
}

impl LinkListener {
    /// Watches these ports, and at once when `hint` is written to. Lines go to `log`.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn start(
        ports: Arc<dyn Ports>,
        hint: Arc<OwnedFd>,
        log: impl FnMut(&Change) + Send + 'static,
    ) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("links".to_owned()).spawn({
            let (hint, ended) = (Arc::clone(&hint), Arc::clone(&ended));
            move || watch(&*ports, &hint, &ended, log)
        })?;
        Ok(Self { hint, ended, thread: Some(thread) })
    }
}

impl Drop for LinkListener {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // It fails only when it is full, which wakes the thread as well.
        let _ = rustix::io::write(&*self.hint, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // It cannot panic but in `log`, and there is nobody left to tell.
            drop(thread.join());
        }
    }
}

fn watch(ports: &dyn Ports, hint: &OwnedFd, ended: &AtomicBool, mut log: impl FnMut(&Change)) {
    let origin = Instant::now();
    let mut links = LinkWatch::default();
    let mut to_announce: Vec<u16> = Vec::new();
    while !ended.load(Ordering::Acquire) {
        for change in links.look(origin.elapsed(), ports.links()) {
            log(&change);
            let port = change.port.port;
            match change.what {
                What::Lost => ports.note_loss(port),
                // The switch may be another, or have forgotten us.
                What::Up(_) => to_announce.push(port),
                What::Missing | What::Speed => {}
            }
        }
        to_announce.retain(|port| !ports.announce(*port));
        // What is hinted meanwhile is looked at together.
        if !ended.load(Ordering::Acquire) {
            std::thread::sleep(AT_MOST_EVERY);
        }
        wait(hint, ASK_EVERY - AT_MOST_EVERY);
    }
}

/// Waits for a hint, at most so long, and clears it.
fn wait(hint: &OwnedFd, at_most: Duration) {
    let timeout = Timespec::try_from(at_most).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(&mut [PollFd::new(hint, PollFlags::IN)], Some(&timeout)) {
        Ok(0) | Err(Errno::INTR) => {}
        Ok(_) => drop(rustix::io::read(hint, &mut [0; 8])),
        // Without hints it is a matter of time only.
        Err(_) => std::thread::sleep(at_most),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const DOWN: Link = Link { up: false, speed_mbps: None };
    const GIGABIT: Link = Link { up: true, speed_mbps: Some(1_000) };

    fn port(number: u16, link: Link) -> PortLink {
        PortLink { port: number, name: format!("net_fake{number}"), link: Some(link) }
    }

    fn at(tenths: u64) -> Duration {
        Duration::from_millis(tenths * 100)
    }

    fn lines(changes: &[Change]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let mut watch = LinkWatch::default();
        assert_eq!(
            watch.look(at(0), vec![port(0, GIGABIT), port(1, DOWN)])[..],
            [Change { port: port(1, DOWN), what: What::Missing }]
        );
        assert_eq!(watch.look(at(10), vec![port(0, GIGABIT), port(1, DOWN)]), []);
        let lost = watch.look(at(20), vec![port(0, DOWN), port(1, GIGABIT)]);
        assert_eq!(
            lines(&lost),
            [
                "port 0 (net_fake0): link down: it was up, look at the cable and the other end",
                "port 1 (net_fake1): link up, 1000 Mbit/s, after 2.0 s without"
            ]
        );
        assert_eq!(watch.look(at(25), vec![port(0, DOWN), port(1, GIGABIT)]), []);
        let back = watch.look(at(32), vec![port(0, Link { up: true, speed_mbps: None }), port(1, GIGABIT)]);
        assert_eq!(lines(&back), ["port 0 (net_fake0): link up, after 1.2 s without"]);
    }

    #[test]
    fn another_speed_is_told_and_a_driver_that_knows_nothing_is_left_alone() {
        let mut watch = LinkWatch::default();
        let unknown = PortLink { link: None, ..port(0, DOWN) };
        for tenths in 0..3 {
            assert_eq!(watch.look(at(tenths), vec![unknown.clone()]), []);
        }
        assert_eq!(watch.look(at(3), vec![port(0, GIGABIT)]), []);
        assert_eq!(watch.look(at(4), vec![unknown]), [], "nothing is known, so nothing has changed");
        let slower = watch.look(at(5), vec![port(0, Link { speed_mbps: Some(100), ..GIGABIT })]);
        assert_eq!(lines(&slower), ["port 0 (net_fake0): link up, 100 Mbit/s"]);
    }

    /// A port whose link a test changes.
    #[derive(Default)]
    struct Fake {
        link: Mutex<Link>,
        losses: Mutex<u32>,
        announced: Mutex<u32>,
        /// Announcements that the worker's full mailbox refuses.
        refusals: Mutex<u32>,
    }

    impl Ports for Fake {
        fn links(&self) -> Vec<PortLink> {
            vec![port(7, *self.link.lock().unwrap())]
        }

        fn note_loss(&self, port: u16) {
            assert_eq!(port, 7);
            *self.losses.lock().unwrap() += 1;
        }

        fn announce(&self, port: u16) -> bool {
            assert_eq!(port, 7);
            let mut refusals = self.refusals.lock().unwrap();
            let taken = *refusals == 0;
            *refusals = refusals.saturating_sub(1);
            *self.announced.lock().unwrap() += u32::from(taken);
            taken
        }
    }

    /// Waits, for at most ten seconds.
    fn until(what: impl Fn() -> bool) {
        assert!((0..1_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            what()
        }));
    }

    #[test]
    fn a_link_that_returns_is_counted_logged_and_announced_once() {
        let fake = Arc::new(Fake { link: Mutex::new(GIGABIT), refusals: Mutex::new(2), ..Fake::default() });
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let hint = hint().unwrap();
        let listener = LinkListener::start(Arc::<Fake>::clone(&fake), Arc::clone(&hint), move |change: &Change| {
            log.lock().unwrap().push(change.what);
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(50));
        *fake.link.lock().unwrap() = DOWN;
        until(|| *fake.losses.lock().unwrap() == 1);
        *fake.link.lock().unwrap() = GIGABIT;
        rustix::io::write(&*hint, &1_u64.to_ne_bytes()).unwrap();
        until(|| *fake.announced.lock().unwrap() == 1);
        drop(listener);
        assert!(matches!(told.lock().unwrap()[..], [What::Lost, What::Up(_)]));
        assert_eq!((*fake.losses.lock().unwrap(), *fake.announced.lock().unwrap()), (1, 1));
        assert_eq!(Arc::strong_count(&fake), 1, "the thread is gone");
    }

    #[test]
    fn a_hint_wakes_and_is_cleared() {
        let hint = hint().unwrap();
        rustix::io::write(&*hint, &1_u64.to_ne_bytes()).unwrap();
        let begin = Instant::now();
        wait(&hint, Duration::from_secs(60));
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert_eq!(rustix::io::read(&*hint, &mut [0; 8]), Err(Errno::AGAIN));
    }
}
