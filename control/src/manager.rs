//! What the service manager (systemd) is told: ready, what we are doing, that we are ending, and that all workers make progress.
//! Without one it tells nobody. See `sd_notify(3)`.

use std::fmt;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::fleet::Pulse;
use crate::watchdog::Feeder;

/// Time between two status lines, of which only changed ones are sent.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Time between two requests for more time to end.
const EXTEND_EVERY: Duration = Duration::from_secs(1);

/// How much time is asked for: more than [`crate::supervisor::Policy::STOP`], the patience with workers after it, and closing
/// ports take together. In microseconds.
const EXTENSION_US: u32 = 30_000_000;

/// Where messages go.
type Send = Box<dyn FnMut(&[NotifyState<'_>])>;

/// Our end of the conversation.
pub struct ServiceManager {
    send: Send,
    watchdog: Option<Feeder>,
    status: String,
    status_sent: Duration,
    /// When more time was last asked for; set once we are ending.
    extended: Option<Duration>,
}

impl fmt::Debug for ServiceManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceManager").field("watchdog", &self.watchdog).field("status", &self.status).finish()
    }
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` tell of, if any.
    #[must_use]
    pub fn of_process() -> Self {
        // A manager that cannot be reached must not end a service that can go on; its own timeouts say what is missing.
        Self::new(sd_notify::watchdog_enabled(), |states| drop(sd_notify::notify(states)))
    }

    /// One that is reached through `send`, with a watchdog that bites after so long.
    #[must_use]
    pub fn new(watchdog: Option<Duration>, send: impl FnMut(&[NotifyState<'_>]) + 'static) -> Self {
        Self {
            send: Box::new(send),
            watchdog: watchdog.filter(|limit| !limit.is_zero()).map(Feeder::new),
            status: String::new(),
            status_sent: Duration::ZERO,
            extended: None,
        }
    }

    /// Says what we are doing, one line.
    pub fn status(&mut self, status: &str) {
        self.status = status.to_owned();
        (self.send)(&[NotifyState::Status(status)]);
    }

    /// All workers poll.
    pub fn ready(&mut self, status: &str) {
        self.status = status.to_owned();
        (self.send)(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// To be called after each look at the workers, at moments that do not go back; the first call with `ending` says so.
    pub fn look(&mut self, now: Duration, ending: bool, pulses: &[Pulse], status: impl FnOnce() -> String) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now, pulses)) {
            (self.send)(&[NotifyState::Watchdog]);
        }
        let newly_ending = ending && self.extended.is_none();
        if newly_ending {
            (self.send)(&[NotifyState::Stopping]);
        }
        // The configured drain time is the operator's word; TimeoutStopSec= only has to outlast a control thread that is dead.
        if ending && self.extended.is_none_or(|asked| now.saturating_sub(asked) >= EXTEND_EVERY) {
            self.extended = Some(now);
            (self.send)(&[NotifyState::ExtendTimeoutUsec(EXTENSION_US)]);
        }
        if newly_ending || now.saturating_sub(self.status_sent) >= STATUS_EVERY {
            self.status_sent = now;
            let status = status();
            if status != self.status {
                self.status(&status);
            }
        }
    }

    /// It is over; what is still to be closed has a full watchdog's time.
    pub fn over(&mut self, status: &str) {
        if self.watchdog.is_some() {
            (self.send)(&[NotifyState::Watchdog]);
        }
        self.status(status);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::protocol::WorkerState;

    /// A manager and what it was told.
    fn manager(watchdog: Option<Duration>) -> (ServiceManager, Rc<RefCell<Vec<String>>>) {
        let told = Rc::new(RefCell::new(Vec::new()));
        let listener = Rc::clone(&told);
        let send =
            move |states: &[NotifyState<'_>]| listener.borrow_mut().extend(states.iter().map(ToString::to_string));
        (ServiceManager::new(watchdog, send), told)
    }

    fn pulse(polls: u64) -> [Pulse; 1] {
        [Pulse { worker: 0, lcore: 1, state: WorkerState::Polling, polls }]
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_status_is_sent_when_it_has_changed_and_not_too_often() {
        let (mut manager, told) = manager(None);
        manager.status("loading");
        manager.ready("serving 0");
        for second in 0..20 {
            manager.look(at(second), false, &pulse(1), || format!("serving {}", second / 10));
        }
        let expected = ["STATUS=loading", "READY=1", "STATUS=serving 0", "STATUS=serving 1"];
        assert_eq!(told.borrow()[..], expected);
    }

    #[test]
    fn stopping_is_said_once_and_more_time_is_asked_for_each_second() {
        let (mut manager, told) = manager(None);
        for second in 0..4 {
            manager.look(at(second), second >= 1, &pulse(1), || "ending".to_owned());
            manager.look(at(second), second >= 1, &pulse(1), || "ending".to_owned());
        }
        manager.over("ended as asked");
        let extend = "EXTEND_TIMEOUT_USEC=30000000";
        assert_eq!(told.borrow()[..], ["STOPPING=1", extend, "STATUS=ending", extend, extend, "STATUS=ended as asked"]);
    }

    #[test]
    fn the_watchdog_is_fed_only_while_workers_move() {
        let (mut manager, told) = manager(Some(at(2)));
        for second in 1..=10 {
            manager.look(at(second), false, &pulse(second.min(5)), String::new);
        }
        assert_eq!(told.borrow().len(), 5, "{told:?}");
        assert!(told.borrow().iter().all(|message| message == "WATCHDOG=1"));
        manager.over("x");
        assert_eq!(told.borrow()[5..], ["WATCHDOG=1", "STATUS=x"]);
    }
}
