//! SIGTERM and SIGINT as orders to the supervisor, SIGHUP as a reload. No work is done in a signal handler.

use std::io;
use std::thread::JoinHandle;

use crossbeam::channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::reload::{ReloadQueue, Trigger};
use crate::supervisor::Order;

/// A thread that turns signals into orders until this is dropped.
#[derive(Debug)]
pub struct SignalListener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalListener {
    /// Takes SIGTERM, SIGINT and SIGHUP over.
    ///
    /// # Errors
    /// The system refuses the handlers or the thread.
    pub fn start(orders: Sender<Order>, reloads: ReloadQueue) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    reloads.ask_silently(Trigger::Signal);
                    continue;
                }
                let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                // A full channel already holds more orders than matter.
                let _ = orders.try_send(Order::Signal(name));
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and there is nobody left to tell.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;
    use crate::reload::Next;

    #[test]
    fn signals_arrive_as_orders() {
        let (sender, orders) = crossbeam::channel::bounded(8);
        let (reloads, requests) = crate::reload::queue();
        let listener = SignalListener::start(sender, reloads).unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        let Next::Reload(batch) = requests.next(Duration::from_secs(10)) else { panic!("SIGHUP never came") };
        assert_eq!(batch.trigger(), Trigger::Signal);
        for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
            kill_process(getpid(), signal).unwrap();
            assert_eq!(orders.recv_timeout(Duration::from_secs(10)), Ok(Order::Signal(name)));
        }
        drop(listener);
        assert!(orders.recv_timeout(Duration::from_secs(10)).is_err(), "the thread has ended and dropped its sender");
    }
}
