//! The table: one entry for each thing that can be said. Help, errors, completion, the wire and the reading of answers follow from
//! it.

use super::{Asked, Asks, Does, Local, Word};
use super::{answers, look};
use crate::fleet::PortCounters;
use crate::grammar::{Argument, Arguments, Choice, Form, Kind, Part, Tail};
use crate::protocol::{Body, Cores, LIST_LIMIT, Mempools, PortInfos, PortXstatsList, Ports, Refusal};
use crate::supervisor::Order;

use Part::{AllOr, Word as W};

/// A port of DPDK's.
const PORT: Argument = Argument::new("N", Kind::Port);

/// A file.
const FILE: Argument = Argument::new("FILE", Kind::Path);

/// Everything that can be said.
pub const WORDS: &[Word] = &[
    asks(
        Form::new(&[W("show"), W("workers")], "lcores, what they do and how much"),
        |asked, _| Ok(Body::Workers(asked.fleet.workers())),
        |value| serde_json::from_value(value).map(Body::Workers),
    ),
    asks(
        Form::new(&[W("show"), W("stats")], "frames and transfers, summed up"),
        |asked, _| Ok(Body::Stats(asked.fleet.stats())),
        |value| serde_json::from_value(value).map(Body::Stats),
    ),
    asks(
        Form::new(&[W("show"), W("sessions")], "running transfers, or those of one client")
            .with(Tail::Options(&[Choice { word: "client", value: Some(Argument::new("ADDRESS", Kind::Client)) }])),
        |asked, said| {
            Ok(Body::Sessions(match said.address("ADDRESS") {
                Some(client) => asked.fleet.sessions_of(client, LIST_LIMIT),
                None => asked.fleet.sessions(LIST_LIMIT),
            }))
        },
        |value| serde_json::from_value(value).map(Body::Sessions),
    ),
    asks(
        Form::new(&[W("show"), W("files")], "what is served"),
        |asked, _| Ok(Body::Files(asked.fleet.files(LIST_LIMIT))),
        |value| serde_json::from_value(value).map(Body::Files),
    ),
    asks(
        Form::new(&[W("show"), W("drops")], "why frames were dropped"),
        |asked, _| Ok(Body::Drops(asked.fleet.drops())),
        |value| serde_json::from_value(value).map(Body::Drops),
    ),
    asks(
        Form::new(&[W("show"), W("latency")], "how long first blocks and whole transfers took"),
        |asked, _| Ok(Body::Latencies(asked.fleet.latency())),
        |value| serde_json::from_value(value).map(Body::Latencies),
    ),
    asks(
        Form::new(&[W("show"), W("port"), W("stats"), AllOr(PORT)], "the ports' own counters"),
        |asked, said| {
            let ports = answers::chosen(asked.fleet.ports(), said.short("N"), |port| port.port)?;
            Ok(Body::Ports(Ports { ports }))
        },
        |value| serde_json::from_value(value).map(Body::Ports),
    ),
    asks(
        Form::new(&[W("reload")], "read files and configuration again; running transfers keep theirs"),
        |asked, _| asked.fleet.reload().map(|reloaded| Body::Reloaded(Box::new(reloaded))),
        |value| serde_json::from_value(value).map(Body::Reloaded),
    )
    .patient(),
    asks(
        Form::new(&[W("show"), W("port"), W("info"), AllOr(PORT)], "what the ports are and were given"),
        |asked, said| {
            let ports = answers::chosen(asked.fleet.port_infos(), said.short("N"), |port| port.port)?;
            Ok(Body::PortInfos(PortInfos { ports }))
        },
        |value| serde_json::from_value(value).map(Body::PortInfos),
    ),
    asks(
        Form::new(&[W("show"), W("port"), W("xstats"), AllOr(PORT)], "the drivers' own counters"),
        |asked, said| {
            let ports = answers::chosen(asked.fleet.port_xstats(), said.short("N"), |port| port.port)?;
            Ok(Body::PortXstats(PortXstatsList { ports }))
        },
        |value| serde_json::from_value(value).map(Body::PortXstats),
    ),
    asks(
        Form::new(&[W("clear"), W("port"), W("stats"), AllOr(PORT)], "zero the ports' counters"),
        |asked, said| look::clear_ports(asked, said, PortCounters::Stats),
        |value| serde_json::from_value(value).map(Body::Done),
    ),
    asks(
        Form::new(&[W("clear"), W("port"), W("xstats"), AllOr(PORT)], "zero the drivers' own counters"),
        |asked, said| look::clear_ports(asked, said, PortCounters::Xstats),
        |value| serde_json::from_value(value).map(Body::Done),
    ),
    asks(
        Form::new(&[W("show"), W("config"), W("cores")], "lcores, their roles and CPUs"),
        |asked, _| Ok(Body::Cores(Cores { cores: asked.fleet.cores() })),
        |value| serde_json::from_value(value).map(Body::Cores),
    ),
    asks(
        Form::new(&[W("show"), W("mempool")], "frame buffers: how many, how many free"),
        |asked, _| Ok(Body::Mempools(Mempools { pools: asked.fleet.mempools() })),
        |value| serde_json::from_value(value).map(Body::Mempools),
    ),
    asks(
        Form::new(&[W("show"), W("version")], "bypassd's and DPDK's"),
        |asked, _| Ok(Body::Version(asked.fleet.version())),
        |value| serde_json::from_value(value).map(Body::Version),
    ),
    asks(
        Form::new(&[W("capture"), W("start"), Part::Value(FILE)], "copy frames into a new pcapng file of the daemon's")
            .with(Tail::Options(&[
                Choice { word: "host", value: Some(Argument::new("IP", Kind::Client)) },
                Choice { word: "port", value: Some(Argument::number("PORT", 0, 65_535)) },
                Choice { word: "arp", value: None },
                Choice { word: "icmp", value: None },
                Choice { word: "udp", value: None },
                Choice { word: "limit", value: Some(Argument::new("SIZE", Kind::Size)) },
                Choice { word: "seconds", value: Some(Argument::number("SECONDS", 1, 86_400)) },
                Choice { word: "snaplen", value: Some(Argument::number("BYTES", 14, 65_535)) },
            ])),
        look::start_capture,
        |value| serde_json::from_value(value).map(Body::Capture),
    ),
    asks(
        Form::new(&[W("capture"), W("stop")], "end the capture; says what was written and lost"),
        |asked, _| look::stop_capture(asked),
        |value| serde_json::from_value(value).map(Body::Capture),
    ),
    asks(
        Form::new(&[W("show"), W("capture")], "how far the capture is"),
        |asked, _| look::show_capture(asked),
        |value| serde_json::from_value(value).map(Body::Capture),
    ),
    asks(
        Form::new(&[W("trace"), W("read")], "what was traced since the last time"),
        |asked, _| look::read_trace(asked),
        |value| serde_json::from_value(value).map(Body::Trace),
    ),
    asks(
        Form::new(&[W("trace"), W("stop")], "end the trace"),
        |asked, _| look::stop_trace(asked),
        |value| serde_json::from_value(value).map(Body::Trace),
    ),
    follows(
        Form::new(
            &[W("trace"), Part::Value(Argument::new("CLIENT", Kind::Client))],
            "each packet from and to a client, as it happens; q ends it",
        )
        .with(Tail::Options(&[Choice { word: "seconds", value: Some(Argument::number("SECONDS", 1, 86_400)) }])),
        look::start_trace,
        |value| serde_json::from_value(value).map(Body::Trace),
        Local::Trace,
    ),
    asks(
        Form::new(&[W("drain")], "refuse new requests, let running transfers finish, then end"),
        |asked, _| answers::order(asked, Order::Drain, "draining, then ending"),
        |value| serde_json::from_value(value).map(Body::Accepted),
    ),
    asks(
        Form::new(&[W("drain"), W("hold")], "refuse new requests until `resume` or `stop`"),
        |asked, _| answers::order(asked, Order::Hold, "refusing new requests until `resume`"),
        |value| serde_json::from_value(value).map(Body::Accepted),
    ),
    asks(
        Form::new(&[W("resume")], "take new requests again, after `drain hold` or while `drain` lasts"),
        |asked, _| answers::resume(asked),
        |value| serde_json::from_value(value).map(Body::Accepted),
    ),
    asks(
        Form::new(&[W("stop")], "end now; running transfers are cut off"),
        |asked, _| answers::order(asked, Order::Stop, "ending now"),
        |value| serde_json::from_value(value).map(Body::Accepted),
    ),
    local(
        Form::new(&[W("top")], "a live view, every so many seconds; q ends it").with(Tail::Maybe(
            Argument::number("SECONDS", 1, 3_600),
            &[Choice { word: "frames", value: Some(Argument::number("FRAMES", 1, u64::MAX)) }],
        )),
        Local::Top,
    ),
    local(
        Form::new(&[W("load"), Part::Value(FILE)], "say the lines of a file, up to the first that fails"),
        Local::Load,
    ),
    local(Form::new(&[W("quit")], "end bypassctl, not bypassd"), Local::Quit),
    local(
        Form::new(&[W("help")], "what can be said, or what begins with these words")
            .with(Tail::Any(Argument::new("WORD", Kind::Name))),
        Local::Help,
    ),
];

/// What the daemon does.
const fn asks(
    form: Form,
    answer: fn(&Asked<'_>, &Arguments) -> Result<Body, Refusal>,
    decode: fn(serde_json::Value) -> Result<Body, serde_json::Error>,
) -> Word {
    Word { form, does: Does::Asks(Asks { answer, decode, patient: false }) }
}

/// What the daemon begins and bypassctl goes on asking for.
const fn follows(
    form: Form,
    answer: fn(&Asked<'_>, &Arguments) -> Result<Body, Refusal>,
    decode: fn(serde_json::Value) -> Result<Body, serde_json::Error>,
    local: Local,
) -> Word {
    Word { form, does: Does::Follows(Asks { answer, decode, patient: false }, local) }
}

/// What bypassctl does.
const fn local(form: Form, local: Local) -> Word {
    Word { form, does: Does::Local(local) }
}

impl Word {
    /// One whose answer may take as long as it takes.
    const fn patient(self) -> Self {
        match self.does {
            Does::Asks(asks) => Self { does: Does::Asks(Asks { patient: true, ..asks }), ..self },
            Does::Follows(..) | Does::Local(_) => self,
        }
    }
}
