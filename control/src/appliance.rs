//! One run of the appliance, from checked settings to its end: files, EAL, ports, workers, control socket. What is set up here
//! is taken down in the opposite order, whatever happens in between.

mod crew;
mod error;
mod fleet;
mod load;
mod ports;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use dataplane::dpdk::{BUILT_VERSION, Eal};

use crate::count::WorkerCount;
use crate::driver::{ORDERS, supervise};
use crate::fleet::Fleet;
use crate::settings::Settings;
use crate::signals::SignalListener;
use crate::socket::ControlSocket;
use crate::startup::Launch;
use crate::supervisor::{Order, Outcome, Policy};
use crate::words;

pub use error::{ApplianceError, BuildError};
use fleet::{LiveFleet, LivePort};
use ports::Ports;

/// Serves until it is told to end. The line with `ready` goes to standard output, everything else to standard error.
///
/// # Errors
/// [`ApplianceError`] when it never began to serve.
pub fn run(launch: &Launch) -> Result<Outcome, ApplianceError> {
    let started = Instant::now();
    let Launch { settings, eal: plan } = launch;
    let (catalogue, report) = load::load(settings, plan.memory)?;
    for note in &plan.notes {
        say(note);
    }
    say(&format!("EAL arguments: {}", plan.args.join(" ")));
    let eal = Eal::init(plan.args.get(1..).unwrap_or_default())?;
    if eal.version() != BUILT_VERSION {
        say(&format!("built with {BUILT_VERSION}, running on {}", eal.version()));
    }

    // After EAL, which installs handlers of its own; before the workers, so that no order is missed.
    let (orders_in, orders) = crossbeam_channel::bounded(ORDERS);
    let _signals = SignalListener::start(orders_in.clone())
        .map_err(|source| ApplianceError::System { what: "cannot take over SIGTERM and SIGINT", source })?;

    let lcores = crew::lcores(&eal)?;
    let mut ports = Ports::open(&eal, settings, &lcores)?;
    ports.describe().iter().for_each(|line| say(line));
    ports.start()?;

    let count = WorkerCount::new();
    let stop = Arc::new(AtomicBool::new(false));
    let plan = crew::Plan {
        settings,
        idle_sleep_us: plan.idle_sleep_us,
        catalogue: Arc::clone(&catalogue),
        stop: Arc::clone(&stop),
        count: count.clone(),
    };
    let (crew, members) = crew::launch(&eal, &lcores, &mut ports, &plan)?;
    let ports = ports
        .ports
        .into_iter()
        .map(|port| LivePort::new(port.device, port.info, port.interface.mac(), port.interface.mtu()))
        .collect();
    let fleet = Arc::new(LiveFleet { members, ports, catalogue, report, count: count.clone(), stop, started });

    let ended = watch(settings, &fleet, orders_in, &orders);
    // However the watch ended: workers first, then ports, then EAL.
    fleet.stop();
    crew.end(&count);
    ended
}

/// Answers on the control socket and supervises until the end.
fn watch(
    settings: &Settings,
    fleet: &Arc<LiveFleet>,
    orders_in: Sender<Order>,
    orders: &Receiver<Order>,
) -> Result<Outcome, ApplianceError> {
    let handler = {
        let fleet = Arc::clone(fleet);
        Arc::new(move |request| words::answer(&request, &*fleet, &orders_in))
    };
    let socket = ControlSocket::open(&settings.control, handler)?;
    say(&format!("control socket: {}", socket.path().display()));
    let policy = Policy { drain: settings.timers.drain(), stop: Policy::STOP, exit_when_idle: settings.exit_when_idle };
    supervise(&**fleet, orders, policy, &mut io::stdout(), &mut io::stderr())
        .map_err(|source| ApplianceError::System { what: "cannot write to standard output", source })
}

/// A log that cannot be written must not end a service that can go on.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
