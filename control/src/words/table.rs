//! The table: one entry for each thing that can be said. Help, errors, completion, the wire and the reading of answers follow from
//! it.

use super::answers;
use super::{Asked, Asks, Does, Local, Word};
use crate::grammar::{Argument, Arguments, Choice, Form, Kind, Part, Tail};
use crate::protocol::{Body, LIST_LIMIT, Ports, Refusal};
use crate::supervisor::Order;

use Part::{AllOr, Word as W};

/// A port of DPDK's.
const PORT: Argument = Argument::new("N", Kind::Port);

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
        Form::new(&[W("show"), W("port"), W("stats"), AllOr(PORT)], "the ports' own counters"),
        |asked, said| {
            let ports = answers::chosen(asked.fleet.ports(), said.short("N"), |port| port.port)?;
            Ok(Body::Ports(Ports { ports }))
        },
        |value| serde_json::from_value(value).map(Body::Ports),
    ),
    asks(
        Form::new(&[W("drain")], "refuse new requests, let running transfers finish, then end"),
        |asked, _| answers::order(asked, Order::Drain, "draining, then ending"),
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
        Form::new(
            &[W("load"), Part::Value(Argument::new("FILE", Kind::Path))],
            "say the lines of a file, up to the first that fails",
        ),
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
    Word { form, does: Does::Asks(Asks { answer, decode }) }
}

/// What bypassctl does.
const fn local(form: Form, local: Local) -> Word {
    Word { form, does: Does::Local(local) }
}
