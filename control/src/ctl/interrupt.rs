//! Waiting that a person can end: `q` or Ctrl-C at a terminal, SIGINT or SIGTERM anywhere. The terminal is put back when it is over.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What the signal handlers share with us; they stay for good once they are set up.
struct Flags {
    came: Arc<AtomicBool>,
    /// Nobody waits: the signals do what they always do.
    idle: Arc<AtomicBool>,
}

fn flags() -> io::Result<&'static Flags> {
    static FLAGS: OnceLock<Flags> = OnceLock::new();
    if let Some(flags) = FLAGS.get() {
        return Ok(flags);
    }
    let flags = Flags { came: Arc::default(), idle: Arc::new(AtomicBool::new(true)) };
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&flags.idle))?;
        flag::register(signal, Arc::clone(&flags.came))?;
    }
    Ok(FLAGS.get_or_init(|| flags))
}

/// While this lives, keys are not shown and Ctrl-C is a key.
pub(super) struct Interrupt {
    flags: &'static Flags,
    /// The terminal as it was; none where the input is no terminal.
    before: Option<Termios>,
}

impl Interrupt {
    pub(super) fn watch() -> io::Result<Self> {
        let flags = flags()?;
        let input = io::stdin();
        let before = if input.is_terminal() { tcgetattr(&input).ok() } else { None };
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            tcsetattr(&input, OptionalActions::Now, &quiet)?;
        }
        flags.came.store(false, Ordering::Relaxed);
        flags.idle.store(false, Ordering::Relaxed);
        Ok(Self { flags, before })
    }

    /// Waits for so long; true when it is to end.
    pub(super) fn wait(&self, time: Duration) -> io::Result<bool> {
        let end = Instant::now() + time;
        loop {
            if self.flags.came.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if self.key_within(left)? {
                return Ok(true);
            }
        }
    }

    /// Whether a key that ends it came before the time, a signal or another key.
    fn key_within(&self, time: Duration) -> io::Result<bool> {
        let input = io::stdin();
        // A pause of more than this is asked for again, in case that a signal fell between the look at the flag and here.
        let pause = Timespec::try_from(time.min(Duration::from_millis(200))).map_err(io::Error::other)?;
        let mut watched = [PollFd::new(&input, PollFlags::IN)];
        let watched = if self.before.is_some() { &mut watched[..] } else { &mut [] };
        match poll(watched, Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let mut key = [0];
                // Past the buffer of `Stdin`, which would keep what follows.
                let came = rustix::io::read(&input, &mut key)?;
                // A terminal that hung up has no more keys.
                Ok(came == 0 || matches!(key, [b'q' | b'Q' | 0x03 | 0x04]))
            }
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.flags.idle.store(true, Ordering::Relaxed);
        if let Some(before) = &self.before {
            // A terminal that is gone needs no putting back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
