//! Files that are not in the catalogue's memory: a request for one waits here while control loads it, and is handled again when it
//! has come.

use super::output::CacheEvent;
use super::parked::{Parked, Standing, Unavailable};
use super::request::{AskedName, Datagram, Refusal};
use super::shelf::{Shelf, ShelfUse, Shelfmark, Title, Wants};
use super::{Engine, Event, Outcome, Output};
use crate::files::{Catalogue, FileId};
use crate::port::Frame;
use crate::session::Client;
use crate::tftp::{self, ErrorCode};
use crate::time::Instant;
use crate::wire::{self, Checks, Packet};
use std::sync::Arc;

/// Parked requests that are handled again in one poll.
const RESUMED_PER_POLL: usize = 16;

const CHANGED: Refusal = Refusal { code: ErrorCode::NotDefined, text: "file has changed: not available now" };
const VANISHED: Refusal = Refusal { code: ErrorCode::FileNotFound, text: "file is gone: not available" };
const FAILED: Refusal = Refusal { code: ErrorCode::NotDefined, text: "file is not available now" };

impl Engine {
    /// Takes files on demand from now on: at most `places` of them at a time, asked for through `wants`. Before it serves. Returns
    /// how the places are used, for control.
    #[cold]
    pub fn serve_on_demand(&mut self, wants: Wants, places: u32) -> Arc<ShelfUse> {
        *self.generations.shelf_mut() = Shelf::new(places as usize);
        self.parked = Parked::new(super::parked::PARKED_MAX);
        self.wants = Some(wants);
        Arc::clone(self.generations.shelf().usage())
    }

    /// Serves a file from `volume`, and those who wait for it. Its bytes are for control to keep until the place is
    /// [emptied](Self::unshelve).
    ///
    /// # Errors
    /// Gives it back where somebody still reads another file in that place.
    #[cold]
    pub fn shelve(&mut self, mark: Shelfmark, title: Title, volume: Arc<Catalogue>) -> Result<(), Arc<Catalogue>> {
        let shelf = self.generations.shelf_mut();
        // Control may say it twice; a reader of the same bytes is no hindrance.
        if !shelf.has(mark, title) {
            shelf.put(mark, title, volume)?;
        }
        self.parked.settle(title, Standing::Ready);
        Ok(())
    }

    /// Whether no transfer reads what is in a place.
    #[must_use]
    pub fn is_idle(&self, mark: Shelfmark) -> bool {
        self.generations.shelf().is_idle(mark)
    }

    /// Empties a place that is idle.
    #[cold]
    pub fn unshelve(&mut self, mark: Shelfmark) -> Option<Arc<Catalogue>> {
        self.generations.shelf_mut().take(mark)
    }

    /// Those who wait for a file get an ERROR.
    #[cold]
    pub fn refuse_waiting(&mut self, title: Title, why: Unavailable) {
        self.parked.settle(title, Standing::Refused(why));
    }

    /// Requests that wait for a file.
    #[must_use]
    pub const fn parked_requests(&self) -> usize {
        self.parked.len()
    }

    /// A request for a file that is not here.
    #[cold]
    pub(super) fn park<O: Output>(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        client: Client,
        file: FileId,
        frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        out.report(Event::Cache(CacheEvent::Miss));
        let Some(wants) = &self.wants else {
            let asked = asked_name(datagram, &frame);
            return self.refuse(now, datagram, &FAILED, &asked, frame, out);
        };
        let generation = self.generations.get(self.generations.current()).generation();
        let title = Title { generation, file };
        let parking = self.parked.park(now, client, title, frame.bytes());
        if parking.pushed_out {
            out.report(Event::Cache(CacheEvent::ParkedLost));
        }
        if parking.ask && wants.push(title).is_err() {
            out.report(Event::Cache(CacheEvent::WantLost));
        }
        if parking.parked { Outcome::RequestParked } else { Outcome::NotParked }
    }

    /// Handles parked requests again whose files have come, a bounded number of them.
    #[inline]
    pub fn resume<O: Output>(&mut self, now: Instant, out: &mut O) {
        if self.parked.has_settled() {
            self.resume_settled(now, out);
        }
    }

    #[cold]
    fn resume_settled<O: Output>(&mut self, now: Instant, out: &mut O) {
        for _ in 0..RESUMED_PER_POLL {
            if out.room() == 0 || !self.parked.has_settled() {
                return;
            }
            // An empty pool is no reason to forget anybody: the next poll tries again.
            let Some(mut frame) = out.allocate() else { return out.report(Event::PoolEmpty) };
            let Some(request) = self.parked.take_settled() else { return };
            let datagram = if request.is_stale(now) || frame.append(request.frame()).is_err() {
                None
            } else {
                self.read_again(&frame)
            };
            let outcome = datagram.map(|datagram| match request.standing {
                Standing::Waiting | Standing::Ready => self.on_request(now, &datagram, frame, out),
                Standing::Refused(why) => {
                    let asked = asked_name(&datagram, &frame);
                    self.refuse(now, &datagram, refusal(why), &asked, frame, out)
                }
            });
            // The frame that it came in has had its outcome.
            match outcome {
                Some(Outcome::RequestOpened | Outcome::RequestRepeated | Outcome::RequestRefused) => {
                    out.report(Event::Cache(CacheEvent::ParkedAnswered));
                }
                Some(Outcome::RequestParked) => {}
                _ => out.report(Event::Cache(CacheEvent::ParkedLost)),
            }
        }
    }

    /// The datagram in a frame that was found sound when it came.
    fn read_again<F: Frame>(&self, frame: &F) -> Option<Datagram> {
        let parsed = wire::parse(frame.bytes(), Checks::TRUST).ok()?;
        let Packet::Udp { flow, payload } = parsed.packet else { return None };
        let local = self.interface.find(flow.addresses.dst())?;
        Some(Datagram { link: parsed.link, flow, local, payload })
    }
}

const fn refusal(why: Unavailable) -> &'static Refusal {
    match why {
        Unavailable::Changed => &CHANGED,
        Unavailable::Vanished => &VANISHED,
        Unavailable::Failed => &FAILED,
    }
}

/// The name in a frame that has been understood as a read request.
fn asked_name<F: Frame>(datagram: &Datagram, frame: &F) -> AskedName {
    match frame.bytes().get(datagram.payload.range()).map(tftp::Packet::parse) {
        Some(Ok(tftp::Packet::ReadRequest { body })) => AskedName::of(body, false),
        _ => AskedName::of(&[], false),
    }
}
