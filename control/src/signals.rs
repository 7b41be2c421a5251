//! SIGTERM and SIGINT as orders to the supervisor. No work is done in a signal handler.

use std::io;
use std::thread::JoinHandle;

use crossbeam::channel::Sender;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::supervisor::Order;

/// A thread that turns signals into orders until this is dropped.
#[derive(Debug)]
pub struct SignalListener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalListener {
    /// Takes SIGTERM and SIGINT over. To be called after EAL is up and before the workers are launched.
    ///
    /// # Errors
    /// The system refuses the handlers or the thread.
    pub fn start(orders: Sender<Order>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
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

    #[test]
    fn signals_arrive_as_orders() {
        let (sender, orders) = crossbeam::channel::bounded(8);
        let listener = SignalListener::start(sender).unwrap();
        for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
            kill_process(getpid(), signal).unwrap();
            assert_eq!(orders.recv_timeout(Duration::from_secs(10)), Ok(Order::Signal(name)));
        }
        drop(listener);
        assert!(orders.recv_timeout(Duration::from_secs(10)).is_err(), "the thread has ended and dropped its sender");
    }
}
