//! The queue of reloads: one runs at a time. Whoever asks while one runs waits for the next, which is one for all of them: the one
//! that runs may have looked at the tree before it changed.

use std::fmt;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::protocol::{Refusal, RefusalCode, Reloaded};

/// Requests that may wait; more could only come from signals, for which one is as good as many.
const WAITING: usize = 32;

/// How often who waits for an answer looks whether there still is somebody to give it.
const LOOK: Duration = Duration::from_millis(50);

/// What a reload came to.
pub type Answer = Result<Reloaded, Refusal>;

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The word `reload`.
    Word,
    /// SIGHUP.
    Signal,
    /// Somebody watches the tree.
    Watch,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word => "the word `reload`",
            Self::Signal => "SIGHUP",
            Self::Watch => "the tree has changed",
        })
    }
}

struct Request {
    trigger: Trigger,
    answer: Option<Sender<Answer>>,
}

/// Where reloads are asked for. Clones share the queue.
#[derive(Clone)]
pub struct ReloadQueue(Sender<Request>);

/// Where they are taken from, by one thread.
pub struct ReloadRequests(Receiver<Request>);

impl fmt::Debug for ReloadQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReloadQueue").field(&self.0.len()).finish()
    }
}

/// Requests that one reload answers.
pub struct Batch {
    trigger: Trigger,
    answers: Vec<Sender<Answer>>,
}

/// What came, or not.
pub enum Next {
    /// Do one reload, and answer.
    Reload(Batch),
    /// Nobody has asked.
    Nothing,
    /// Nobody can ask any more.
    Gone,
}

/// A queue, and its other end.
#[must_use]
pub fn queue() -> (ReloadQueue, ReloadRequests) {
    let (sender, receiver) = bounded(WAITING);
    (ReloadQueue(sender), ReloadRequests(receiver))
}

impl ReloadQueue {
    /// Asks and waits for the answer, which may take as long as reading the tree does. `ending` says that none will come.
    ///
    /// # Errors
    /// Why nothing was reloaded.
    pub fn ask(&self, ending: impl Fn() -> bool) -> Answer {
        let (answer, answered) = bounded(1);
        let request = Request { trigger: Trigger::Word, answer: Some(answer) };
        if self.0.try_send(request).is_err() {
            let help = "wait until one of them has ended, and try again";
            return Err(Refusal::new(RefusalCode::Busy, "too many reloads are waiting already", help));
        }
        loop {
            match answered.recv_timeout(LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if !ending() => {}
                Err(_) => return Err(Refusal::new(RefusalCode::Ending, "bypassd is ending", "start it again")),
            }
        }
    }

    /// Asks and does not wait, as a signal does.
    pub fn ask_silently(&self, trigger: Trigger) {
        // A full queue already holds a reload that begins later than now.
        let _ = self.0.try_send(Request { trigger, answer: None });
    }
}

impl ReloadRequests {
    /// All that have asked until now, waiting at most `pause` for the first.
    pub fn next(&self, pause: Duration) -> Next {
        match self.0.recv_timeout(pause) {
            Ok(Request { trigger, answer }) => {
                let answers =
                    answer.into_iter().chain(self.0.try_iter().filter_map(|request| request.answer)).collect();
                Next::Reload(Batch { trigger, answers })
            }
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Gone,
        }
    }
}

impl Batch {
    /// Who asked first.
    #[must_use]
    pub const fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// Tells everybody.
    pub fn answer(self, answer: &Answer) {
        for waiting in self.answers {
            // Who does not wait any more needs no answer.
            let _ = waiting.try_send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn generation(generation: u64) -> Answer {
        Ok(Reloaded { generation, ..Reloaded::default() })
    }

    fn wait_for(queue: &ReloadQueue, requests: usize) {
        let seen = (0..1_000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            queue.0.len() == requests
        });
        assert!(seen, "{requests} requests never came");
    }

    #[test]
    fn who_asks_while_one_runs_gets_the_next_and_all_get_the_same() {
        let (queue, requests) = queue();
        let ask = || {
            let queue = queue.clone();
            thread::spawn(move || queue.ask(|| false))
        };
        let first = ask();
        let Next::Reload(running) = requests.next(LONG) else { panic!() };
        let late: Vec<_> = (0..5).map(|_| ask()).collect();
        queue.ask_silently(Trigger::Signal);
        wait_for(&queue, 6);
        running.answer(&generation(2));
        assert_eq!(first.join().unwrap(), generation(2));
        let Next::Reload(next) = requests.next(LONG) else { panic!() };
        assert!(matches!(requests.next(Duration::ZERO), Next::Nothing), "one for all");
        next.answer(&generation(3));
        for asker in late {
            assert_eq!(asker.join().unwrap(), generation(3));
        }
    }

    #[test]
    fn who_waits_in_vain_is_told() {
        let (queue, requests) = queue();
        let ending = AtomicBool::new(false);
        thread::scope(|scope| {
            let asker = scope.spawn(|| queue.ask(|| ending.load(Ordering::Relaxed)));
            let Next::Reload(batch) = requests.next(LONG) else { panic!() };
            assert_eq!(batch.trigger(), Trigger::Word);
            ending.store(true, Ordering::Relaxed);
            assert_eq!(asker.join().unwrap().unwrap_err().code, RefusalCode::Ending);
            // The thread that reloads may end first, too.
            ending.store(false, Ordering::Relaxed);
            let asker = scope.spawn(|| queue.ask(|| false));
            let Next::Reload(_dropped) = requests.next(LONG) else { panic!() };
            drop(_dropped);
            assert_eq!(asker.join().unwrap().unwrap_err().code, RefusalCode::Ending);
        });
        drop(batchless(queue, &requests));
        assert!(matches!(requests.next(LONG), Next::Gone));
    }

    /// More signals than anybody can want.
    fn batchless(queue: ReloadQueue, requests: &ReloadRequests) -> ReloadQueue {
        (0..100).for_each(|_| queue.ask_silently(Trigger::Signal));
        assert_eq!(queue.ask(|| false).unwrap_err().code, RefusalCode::Busy);
        let Next::Reload(batch) = requests.next(LONG) else { panic!() };
        assert_eq!(batch.trigger().to_string(), "SIGHUP");
        assert!(matches!(requests.next(Duration::ZERO), Next::Nothing));
        queue
    }
}
