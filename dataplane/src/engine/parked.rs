//! Requests that wait for their file to be loaded: copies, so that no frame buffer waits with them. Bounded; one per client; never
//! waits itself.

use super::shelf::Title;
use crate::session::Client;
use crate::time::{Duration, Instant};

/// Requests that may wait in one worker on one port.
pub(super) const PARKED_MAX: usize = 512;

/// Longest frame that is kept, in bytes: a request of 512 bytes behind tagged Ethernet, IPv6 and UDP, and some more.
const FRAME_MAX: usize = 640;

/// After so long a client has given up or asked again: stock clients repeat after one to five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an unanswered want is left alone before it is said again.
const ASKED_ANEW_AFTER: Duration = Duration::from_secs(1);

/// Why a file could not be loaded when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It is not what it was when the tree was scanned.
    Changed,
    /// It is not there any more.
    Vanished,
    /// It could not be read, or there was no memory for it.
    Failed,
}

/// How a parked request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    /// To be looked at again: its file has come, or there is another catalogue.
    Ready,
    Refused(Unavailable),
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct ParkedRequest {
    client: Client,
    title: Title,
    since: Instant,
    asked: Instant,
    pub(super) standing: Standing,
    len: u16,
    frame: [u8; FRAME_MAX],
}

impl ParkedRequest {
    pub(super) fn frame(&self) -> &[u8] {
        self.frame.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether its client has probably gone.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now - self.since > PATIENCE
    }
}

/// What became of a request that was to be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parking {
    /// It waits; else it was too long to be kept, and only its file is asked for.
    pub(super) parked: bool,
    /// The file must be asked for: nobody did lately.
    pub(super) ask: bool,
    /// The longest waiting one had to go for it.
    pub(super) pushed_out: bool,
}

/// All parked requests of one engine.
#[derive(Debug)]
pub(super) struct Parked {
    requests: Vec<ParkedRequest>,
    settled: usize,
}

impl Parked {
    pub(super) fn new(capacity: usize) -> Self {
        Self { requests: Vec::with_capacity(capacity.min(PARKED_MAX)), settled: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.requests.len()
    }

    #[inline]
    pub(super) const fn has_settled(&self) -> bool {
        self.settled > 0
    }

    /// Keeps a request until its file has come. An earlier one of the same client goes.
    pub(super) fn park(&mut self, now: Instant, client: Client, title: Title, frame: &[u8]) -> Parking {
        let lately = self.requests.iter().filter(|other| other.title == title && other.standing == Standing::Waiting);
        let asked = lately.map(|other| other.asked).max().filter(|&asked| now - asked < ASKED_ANEW_AFTER);
        self.forget(&client);
        let mut parking = Parking { parked: false, ask: asked.is_none(), pushed_out: false };
        let mut kept = [0; FRAME_MAX];
        let Some(place) = kept.get_mut(..frame.len()) else { return parking };
        place.copy_from_slice(frame);
        if self.requests.len() == self.requests.capacity() {
            let oldest = self.requests.iter().enumerate().min_by_key(|(_, request)| request.since);
            let Some((oldest, _)) = oldest else { return parking };
            self.remove(oldest);
            parking.pushed_out = true;
        }
        let len = u16::try_from(frame.len()).unwrap_or_default();
        let asked = asked.unwrap_or(now);
        let standing = Standing::Waiting;
        self.requests.push(ParkedRequest { client, title, since: now, asked, standing, len, frame: kept });
        parking.parked = true;
        parking
    }

    /// This client wants something else now.
    #[inline]
    pub(super) fn forget(&mut self, client: &Client) {
        if !self.requests.is_empty()
            && let Some(number) = self.requests.iter().position(|request| request.client == *client)
        {
            self.remove(number);
        }
    }

    /// Those who wait for this file need wait no longer.
    pub(super) fn settle(&mut self, title: Title, standing: Standing) {
        self.settle_those(|request| request.title == title, standing);
    }

    /// Nobody need wait any longer.
    pub(super) fn settle_all(&mut self, standing: Standing) {
        self.settle_those(|_| true, standing);
    }

    fn settle_those(&mut self, which: impl Fn(&ParkedRequest) -> bool, standing: Standing) {
        for request in &mut self.requests {
            if request.standing == Standing::Waiting && which(request) {
                request.standing = standing;
                self.settled += 1;
            }
        }
    }

    /// One that need not wait any longer: the one that came first.
    pub(super) fn take_settled(&mut self) -> Option<ParkedRequest> {
        let settled = self.requests.iter().enumerate().filter(|(_, request)| request.standing != Standing::Waiting);
        let (number, _) = settled.min_by_key(|(_, request)| request.since)?;
        Some(self.remove(number))
    }

    fn remove(&mut self, number: usize) -> ParkedRequest {
        let request = self.requests.swap_remove(number);
        self.settled -= usize::from(request.standing != Standing::Waiting);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FileId, GenerationId};
    use core::net::{IpAddr, Ipv4Addr};

    fn client(number: u16) -> Client {
        Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), number)
    }

    const fn title(file: u32) -> Title {
        Title { generation: GenerationId(1), file: FileId::from_index(file) }
    }

    const fn at_ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn a_repeat_takes_the_place_of_the_request() {
        let mut parked = Parked::new(4);
        assert_eq!(
            parked.park(at_ms(0), client(1), title(1), b"first"),
            Parking { parked: true, ask: true, pushed_out: false }
        );
        parked.park(at_ms(5), client(1), title(1), b"second");
        assert_eq!(parked.len(), 1);
        parked.settle(title(1), Standing::Ready);
        assert_eq!(parked.take_settled().unwrap().frame(), b"second");
        assert!(parked.take_settled().is_none() && !parked.has_settled());
    }

    #[test]
    fn a_file_is_asked_for_once_a_second() {
        let mut parked = Parked::new(4);
        assert!(parked.park(at_ms(0), client(1), title(1), b"").ask);
        assert!(!parked.park(at_ms(900), client(2), title(1), b"").ask, "others join");
        assert!(parked.park(at_ms(900), client(3), title(2), b"").ask, "another file");
        assert!(parked.park(at_ms(1_100), client(4), title(1), b"").ask, "no answer for a second");
        assert!(!parked.park(at_ms(1_150), client(4), title(1), b"").ask, "its own repeat");
        assert!(!parked.park(at_ms(1_200), client(4), title(2), b"").ask);
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut parked = Parked::new(2);
        for (at, port) in [(0, 1), (1, 2)] {
            assert!(!parked.park(at_ms(at), client(port), title(1), b"").pushed_out);
        }
        parked.settle(title(1), Standing::Refused(Unavailable::Failed));
        assert!(parked.park(at_ms(2), client(3), title(2), b"").pushed_out);
        assert_eq!((parked.len(), parked.settled), (2, 1), "client 1 went");
        assert_eq!(parked.take_settled().unwrap().client, client(2));
        assert!(!parked.park(at_ms(3), client(4), title(2), &[0; 641]).parked, "too long");
    }

    #[test]
    fn the_first_comes_first() {
        let mut parked = Parked::new(8);
        for (at, port) in [(3, 3), (1, 1), (2, 2)] {
            parked.park(at_ms(at), client(port), title(1), b"");
        }
        parked.settle_all(Standing::Ready);
        parked.forget(&client(2));
        let order: Vec<_> = core::iter::from_fn(|| parked.take_settled()).map(|request| request.client).collect();
        assert_eq!(order, [client(1), client(3)]);
    }
}
