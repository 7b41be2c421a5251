//! One run of the appliance, from checked settings to its end: files, EAL, ports, workers, control socket. What is set up here
//! is taken down in the opposite order, whatever happens in between.

mod busy;
mod cache;
mod crew;
mod error;
mod fleet;
mod load;
mod look;
mod monitoring;
mod ports;
mod reload;
mod shelf;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender};
use dataplane::dpdk::{Eal, Tsc};
use dataplane::files::{Allowance, Loaded};
use dataplane::worker::{DrainFlag, StopFlag};

use crate::count::WorkerCount;
use crate::driver::{ORDERS, supervise};
use crate::fleet::Fleet;
use crate::links::{self, Change, LinkListener};
use crate::log::Logging;
use crate::manager::ServiceManager;
use crate::notice::{Lines, say, warn};
use crate::reload::{ReloadQueue, ReloadRequests, queue};
use crate::signals::SignalListener;
use crate::socket::BoundSocket;
use crate::startup::Launch;
use crate::supervisor::{Order, Outcome, Policy};
use crate::transfer_log::TransferLog;
use crate::words;

use cache::{Cache, Stock};
use crew::Crew;
pub use error::{ApplianceError, BuildError};
use fleet::{LiveFleet, LivePort};
use look::Look;
use ports::Ports;
use reload::Reloader;
use shelf::{Generation, Shelf};

/// Serves until it is told to end. `log`: what a reload may change the level of. The line with `ready` goes to standard output, everything else to standard error.
///
/// # Errors
/// [`ApplianceError`] when it never began to serve.
pub fn run(launch: &Launch, log: Option<&Logging>) -> Result<Outcome, ApplianceError> {
    let plan = &launch.eal;
    // What another run may hold, and what people may do meanwhile, comes before everything that takes long or is seen outside.
    let socket = BoundSocket::bind(&launch.settings.control)?;
    let (orders_in, orders) = crossbeam::channel::bounded(ORDERS);
    let (reloads, requests) = queue();
    let _signals = SignalListener::start(orders_in.clone(), reloads.clone())
        .map_err(|source| ApplianceError::System { what: "cannot take over SIGTERM, SIGINT and SIGHUP", source })?;
    say(format_args!("control socket: {}", launch.settings.control.socket.display()));
    let endpoint = monitoring::bind(&launch.settings)?;

    let transfers = TransferLog::start(&launch.settings.log)
        .map_err(|source| ApplianceError::System { what: "cannot write transfers down", source })?;
    let mut manager = ServiceManager::of_process();
    manager.status("loading files");
    let loaded = load::load(&launch.settings, plan)?;
    if !orders.is_empty() {
        return Ok(Outcome::AsAsked);
    }
    for note in &plan.notes {
        say(note);
    }
    say(format_args!("EAL arguments: {}", plan.args.join(" ")));
    manager.status("starting DPDK");
    let eal = Eal::init(plan.args.get(1..).unwrap_or_default())?;

    let (crew, fleet) = start(&eal, launch, loaded, reloads)?;
    transfers.watch(fleet.record_sources());
    let watched = Arc::clone(&fleet) as Arc<dyn Fleet>;
    let ended = monitoring::begin(&eal, watched, endpoint)
        .and_then(|_monitoring| watch(launch, &fleet, (orders_in, &orders), requests, socket, &mut manager, log));
    // However the watch ended: workers first, then ports, then EAL.
    fleet.stop();
    crew.end(&fleet.count);
    // Those that were cut off are still to be written down.
    drop(transfers);
    ended
}

/// Opens the ports and launches the workers.
fn start(
    eal: &Eal,
    launch: &Launch,
    (Loaded { mut catalogue, report, library }, allowance): (Loaded, Allowance),
    reloads: ReloadQueue,
) -> Result<(Crew, Arc<LiveFleet>), ApplianceError> {
    let settings = &launch.settings;
    let lcores = crew::lcores(eal)?;
    crew::check_reply_ports(settings, &lcores)?;
    let mut ports = Ports::open(eal, settings, &lcores)?;
    ports.describe().iter().for_each(say);
    ports.start()?;

    catalogue.keep_tallies(u16::try_from(lcores.len()).unwrap_or(u16::MAX));
    let catalogue = Arc::new(catalogue);
    let plan = crew::Plan {
        settings,
        idle_sleep_us: launch.eal.idle_sleep_us,
        catalogue: Arc::clone(&catalogue),
        drain: DrainFlag::new(),
        stop: StopFlag::new(),
        count: WorkerCount::new(),
        clock: Tsc::new(eal),
    };
    let (crew, members, desks) = crew::launch(eal, &lcores, &mut ports, &plan)?;
    ports.describe_refusals().iter().for_each(say);
    let pools = ports.pools.clone();
    let ports: Vec<LivePort> = ports
        .ports
        .into_iter()
        .map(|port| LivePort::new(port.device, port.info, port.interface.mac(), port.interface.mtu()))
        .collect();
    let tsc_hz = plan.clock.hz();
    let look = Look::new(eal, plan.clock, &members, &ports, pools);
    let crew::Plan { drain, stop, count, .. } = plan;
    let reach = ports.iter().filter_map(|port| port.reach(&catalogue)).collect();
    let shelf = Shelf::new(Generation::new(Arc::clone(&catalogue), report, reach));
    let stock = Stock { catalogue: Arc::clone(&catalogue), library };
    let cache = Cache::start(desks, stock, allowance.budget_bytes)
        .map_err(|source| ApplianceError::System { what: "cannot start the thread that loads files", source })?;
    let fleet = LiveFleet {
        members,
        ports,
        shelf,
        reloads,
        cache,
        allowance,
        count,
        drain,
        stop,
        started: Instant::now(),
        look,
        tsc_hz,
        earlier_hits: Mutex::default(),
    };
    Ok((crew, Arc::new(fleet)))
}

/// Answers on the control socket, reloads and supervises until the end.
fn watch(
    launch: &Launch,
    fleet: &Arc<LiveFleet>,
    (orders_in, orders): (Sender<Order>, &Receiver<Order>),
    requests: ReloadRequests,
    socket: BoundSocket,
    manager: &mut ServiceManager,
    log: Option<&Logging>,
) -> Result<Outcome, ApplianceError> {
    let settings = &launch.settings;
    let _reloader = Reloader::start(fleet, launch, log.cloned(), orders_in.clone(), requests)
        .map_err(|source| ApplianceError::System { what: "cannot start a thread for reloads", source })?;
    let handler = {
        let fleet = Arc::clone(fleet);
        Arc::new(move |request| words::answer(&request, &*fleet, &orders_in))
    };
    let _socket = socket.answer(handler)?;
    let _links = watch_links(fleet)?;
    let policy = Policy { drain: settings.timers.drain(), stop: Policy::STOP, exit_when_idle: settings.exit_when_idle };
    supervise(&**fleet, orders, policy, manager, &mut io::stdout(), &mut Lines::default())
        .map_err(|source| ApplianceError::System { what: "cannot write to standard output", source })
}

/// Watches the ports' links until the result is dropped.
fn watch_links(fleet: &Arc<LiveFleet>) -> Result<LinkListener, ApplianceError> {
    let system = |source| ApplianceError::System { what: "cannot watch the ports' links", source };
    let hint = links::hint().map_err(system)?;
    fleet.hint_link_changes(&hint).map_err(BuildError::from)?;
    let ports: Arc<dyn links::Ports> = Arc::<LiveFleet>::clone(fleet);
    let log = |change: &Change| if change.link_is_up() { say(change) } else { warn(change) };
    LinkListener::start(ports, hint, log).map_err(system)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use clap::Parser;
    use dataplane::worker::{Letter, WorkerState};

    use super::*;
    use crate::args::{Cli, Command};
    use crate::host::Host;
    use crate::machine::Machine;
    use crate::settings::Environment;
    use crate::startup::prepare;

    fn prepare_run(root: &Path, socket: &Path) -> Launch {
        let (root, socket) = (root.to_str().unwrap(), socket.to_str().unwrap());
        let words = ["bypassd", "run", "--vdev", "net_null0", "--address", "192.0.2.1/24", "--root", root];
        let rest = ["--control", socket, "--", "--no-huge", "-m", "256", "--lcores", "0@0,1@0,2@0", "--no-telemetry"];
        let Command::Run(mut args) = Cli::parse_from(words.into_iter().chain(rest)).command else { panic!("it runs") };
        let config = Path::new(socket).with_extension("toml");
        std::fs::write(&config, "[worker]\nidle_sleep_us = 1000\nrx_descriptors = 64\ntx_descriptors = 64\n").unwrap();
        args.config = Some(config);
        prepare(args, &Environment::default(), &Machine::look(&Host::this())).unwrap()
    }

    /// Waits, for at most ten seconds.
    fn until(what: impl Fn() -> bool) {
        assert!((0..10_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            what()
        }));
    }

    #[test]
    fn a_worker_that_stalls_is_noted_and_one_that_panics_is_counted_out_and_fails_the_run_after_the_others_have_ended()
    {
        let folder = tempfile::tempdir().unwrap();
        let launch = prepare_run(folder.path(), &folder.path().join("control"));
        let mut manager = ServiceManager::of_process();
        manager.status("loading files");
        let loaded = load::load(&launch.settings, &launch.eal).unwrap();
        let eal = Eal::init(&launch.eal.args[1..]).unwrap();
        let (reloads, requests) = queue();
        let (crew, fleet) = start(&eal, &launch, loaded, reloads).unwrap();
        let (orders_in, orders) = crossbeam::channel::bounded(ORDERS);

        let saboteur = std::thread::spawn({
            let fleet = Arc::clone(&fleet);
            move || {
                until(|| fleet.members.iter().all(|member| member.status.state() == WorkerState::Polling));
                assert_eq!(fleet.running_workers(), 2);
                let state = |worker: usize| fleet.workers().workers[worker].state;
                fleet.members[1].letters.send(Letter::Stall(Duration::from_secs(1))).unwrap();
                until(|| state(1) == crate::protocol::WorkerState::Stalled);
                until(|| state(1) == crate::protocol::WorkerState::Polling);
                assert!(fleet.workers().workers[1].stalls >= 1);
                fleet.members[0].letters.send(Letter::Panic).unwrap();
            }
        });
        let socket = BoundSocket::bind(&launch.settings.control).unwrap();
        let mut manager = ServiceManager::new(None, |_| ());
        let outcome = watch(&launch, &fleet, (orders_in, &orders), requests, socket, &mut manager, None).unwrap();
        saboteur.join().unwrap();
        crew.end(&fleet.count);

        let Outcome::Failed(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason, "worker 0 on lcore 1 failed: asked to fail");
        assert_eq!(fleet.running_workers(), 0);
        assert_eq!(fleet.members[1].status.state(), WorkerState::Stopped, "the other one ended as asked");
        assert!(!folder.path().join("control").exists(), "the socket is gone");
    }
}
