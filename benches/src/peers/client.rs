//! The client of all servers: one thread, one kernel UDP socket per transfer at a time, closed loop. Sleeps when there is nothing
//! to read, so that its CPU time is its own.

use super::lab;
use super::transfer::{FAREWELL, File, Mistake, Step, Transfer, Wish};
use rustix::event::epoll;
use rustix::time::Timespec;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where requests go.
const TFTP_PORT: u16 = 69;

/// Silence after which the last packet is sent again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends of one packet before a transfer is given up.
const TRIES: u8 = 5;

/// Longest sleep; timeouts are looked for as often.
const TICK: Duration = Duration::from_millis(50);

/// How long answers to packets under way are awaited at the end.
const FAREWELL_TIME: Duration = Duration::from_millis(150);

/// Larger than any packet on the link.
const PACKET_BYTES: usize = 2_048;

/// Events taken in one call.
const EVENTS: usize = 64;

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Transfers that arrived whole, every byte compared.
    pub(super) transfers: u64,
    /// DATA packets that arrived in order.
    pub(super) blocks: u64,
    /// File bytes in them.
    pub(super) bytes: u64,
    /// Packets sent again after silence.
    pub(super) timeouts: u64,
    /// Transfers that failed.
    pub(super) failures: u64,
    /// First blocks that were not of the transfer.
    pub(super) strays: u64,
}

impl Tally {
    /// What has come since an earlier state.
    pub(super) const fn since(&self, before: &Self) -> Self {
        Self {
            transfers: self.transfers - before.transfers,
            blocks: self.blocks - before.blocks,
            bytes: self.bytes - before.bytes,
            timeouts: self.timeouts - before.timeouts,
            failures: self.failures - before.failures,
            strays: self.strays - before.strays,
        }
    }
}

/// One transfer after the other on one socket.
struct Seat<'a> {
    socket: UdpSocket,
    transfer: Transfer<'a>,
    heard: Instant,
    tries: u8,
}

/// All transfers of one scenario.
pub(super) struct Client<'a> {
    epoll: OwnedFd,
    seats: Vec<Seat<'a>>,
    files: &'a [File],
    next_file: usize,
    wish: Wish,
    tally: Tally,
    /// Smallest window of the transfers that have got data.
    window: Option<u16>,
    /// The first mistake of the server.
    mistake: Option<Mistake>,
    last_look: Instant,
}

impl<'a> Client<'a> {
    /// Opens the sockets, in the namespace of the calling thread. Sends nothing yet.
    pub(super) fn open(seats: usize, files: &'a [File], wish: Wish) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let now = Instant::now();
        let mut client = Self {
            epoll,
            seats: Vec::with_capacity(seats),
            files,
            next_file: 0,
            wish,
            tally: Tally::default(),
            window: None,
            mistake: None,
            last_look: now,
        };
        for number in 0..seats as u64 {
            let socket = UdpSocket::bind((lab::CLIENT, 0))?;
            socket.set_nonblocking(true)?;
            epoll::add(&client.epoll, &socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
            let transfer = Transfer::new(client.take_file(), wish);
            client.seats.push(Seat { socket, transfer, heard: now, tries: 0 });
        }
        Ok(client)
    }

    fn take_file(&mut self) -> &'a File {
        let file = &self.files[self.next_file % self.files.len()];
        self.next_file += 1;
        file
    }

    /// What was done so far.
    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The smallest window that was granted, once data has come.
    pub(super) const fn window(&self) -> Option<u16> {
        self.window
    }

    /// The first mistake of the server, if there was one.
    pub(super) const fn mistake(&self) -> Option<&Mistake> {
        self.mistake.as_ref()
    }

    /// Sends the first requests.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let mut out = Vec::with_capacity(PACKET_BYTES);
        let now = Instant::now();
        for seat in &mut self.seats {
            seat.ask(now, &mut out)?;
        }
        Ok(())
    }

    /// Goes on until `end`, or until `cancelled`.
    pub(super) fn run_until(&mut self, end: Instant, cancelled: &AtomicBool) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut packet = [0; PACKET_BYTES];
        let mut out = Vec::with_capacity(PACKET_BYTES);
        loop {
            let now = Instant::now();
            if now >= end || cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            if now - self.last_look >= TICK {
                self.last_look = now;
                self.repeat_silent(now, &mut out)?;
            }
            let nap = timespec(TICK.min(end - now));
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&nap)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            for event in events.drain(..) {
                // It is one of our own numbers.
                if let Ok(number) = usize::try_from(event.data.u64()) {
                    self.read(number, now, &mut packet, &mut out)?;
                }
            }
        }
    }

    /// Reads what may be there: one packet, or as many as a window has.
    fn read(&mut self, number: usize, now: Instant, packet: &mut [u8], out: &mut Vec<u8>) -> io::Result<()> {
        for _ in 0..self.seats[number].transfer.window() {
            let seat = &mut self.seats[number];
            let (len, from) = match seat.socket.recv_from(packet) {
                Ok(received) => received,
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let (blocks, bytes) = (seat.transfer.blocks(), seat.transfer.received_bytes());
            let step = seat.transfer.receive(from.port(), &packet[..len], out);
            self.tally.blocks += seat.transfer.blocks() - blocks;
            self.tally.bytes += seat.transfer.received_bytes() - bytes;
            if step == Step::Stray {
                self.tally.strays += 1;
                continue;
            }
            seat.heard = now;
            seat.tries = 0;
            match step {
                Step::Wait | Step::Stray => {}
                Step::Send => seat.send(from, out)?,
                Step::Done => {
                    seat.send(from, out)?;
                    self.tally.transfers += 1;
                    return self.go_on(number, now, out);
                }
                Step::Failed(mistake) => return self.fail(number, now, mistake, out),
            }
        }
        Ok(())
    }

    /// The next transfer on this socket.
    fn go_on(&mut self, number: usize, now: Instant, out: &mut Vec<u8>) -> io::Result<()> {
        self.note_window(number);
        let transfer = Transfer::new(self.take_file(), self.wish);
        let seat = &mut self.seats[number];
        seat.transfer = transfer;
        seat.ask(now, out)
    }

    fn fail(&mut self, number: usize, now: Instant, mistake: Mistake, out: &mut Vec<u8>) -> io::Result<()> {
        self.tally.failures += 1;
        self.mistake.get_or_insert(mistake);
        self.seats[number].dismiss()?;
        self.go_on(number, now, out)
    }

    fn note_window(&mut self, number: usize) {
        let transfer = &self.seats[number].transfer;
        if transfer.blocks() > 0 {
            self.window = Some(self.window.unwrap_or(u16::MAX).min(transfer.window()));
        }
    }

    /// Sends the last packet of transfers again that have heard nothing for too long.
    fn repeat_silent(&mut self, now: Instant, out: &mut Vec<u8>) -> io::Result<()> {
        for number in 0..self.seats.len() {
            self.note_window(number);
            let seat = &mut self.seats[number];
            if now - seat.heard < PATIENCE {
                continue;
            }
            self.tally.timeouts += 1;
            seat.tries += 1;
            if seat.tries >= TRIES {
                self.fail(number, now, Mistake::Silence(TRIES), out)?;
            } else {
                seat.repeat(now, out)?;
            }
        }
        Ok(())
    }

    /// Ends what still runs with ERROR, so that no server goes on alone, and answers what was under way.
    pub(super) fn farewell(mut self) -> io::Result<()> {
        for seat in &mut self.seats {
            seat.dismiss()?;
        }
        let end = Instant::now() + FAREWELL_TIME;
        let mut packet = [0; PACKET_BYTES];
        while Instant::now() < end {
            for seat in &self.seats {
                while let Ok((_, from)) = seat.socket.recv_from(&mut packet) {
                    seat.send(from, &FAREWELL)?;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Seat<'_> {
    fn ask(&mut self, now: Instant, out: &mut Vec<u8>) -> io::Result<()> {
        self.tries = 0;
        self.repeat(now, out)
    }

    fn repeat(&mut self, now: Instant, out: &mut Vec<u8>) -> io::Result<()> {
        self.heard = now;
        self.transfer.again(out);
        self.send(address(self.transfer.tid().unwrap_or(TFTP_PORT)), out)
    }

    fn dismiss(&self) -> io::Result<()> {
        self.transfer.tid().map_or(Ok(()), |tid| self.send(address(tid), &FAREWELL))
    }

    /// A packet that the kernel does not take now is a lost one: the timeout repairs it.
    fn send(&self, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        match self.socket.send_to(packet, to) {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

const fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(lab::SERVER), port)
}

/// Nothing there, no room, a signal, or an ICMP error about an earlier packet.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionRefused)
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

/// A `Duration` of at most a second fits.
fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}
