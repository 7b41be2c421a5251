//! What is counted. Each scenario brings the lane into a state, then counts turns over full bursts, and checks every reply and every
//! outcome: a count of the wrong thing is an error, not a number.

use super::frames::{Client, Unmade};
use super::rig::{LARGE, Rig, RigError, SMALL, Served};
use dataplane::engine::Outcome;
use dataplane::port::BURST;
use dataplane::tftp::packet::data_header;
use thiserror::Error;

/// Bursts that are counted, behind one that is not.
const ROUNDS: u16 = 8;

/// Frames of a burst.
const CLIENTS: u16 = 32;
const _: () = assert!(CLIENTS as usize == BURST);

/// Polls that are counted where there is nothing to do.
const IDLE_TURNS: u64 = 256;

/// Why a scenario has no count.
#[derive(Debug, Error)]
pub(crate) enum PlayError {
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error(transparent)]
    Frame(#[from] Unmade),
    #[error("there is no scenario `{0}`")]
    Unknown(String),
    #[error("{frames} frames should have ended as {name}, {found} did")]
    Outcome { name: &'static str, frames: u64, found: u64 },
    #[error("{wanted} replies were due, {found} came")]
    Replies { wanted: usize, found: usize },
    #[error("{0:?} got a reply that is wrong")]
    Wrong(Client),
}

/// One line of the table.
pub(crate) struct Scenario {
    /// Its name in the baseline.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) about: &'static str,
    /// What it needs to be served.
    file: Served,
    /// Plays it; returns by what the count is divided.
    play: fn(&mut Rig) -> Result<u64, PlayError>,
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    file: Served,
    play: fn(&mut Rig) -> Result<u64, PlayError>,
) -> Scenario {
    Scenario { name, about, file, play }
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    scenario("rrq", "RRQ without options, file of one block", SMALL, |rig| requests(rig, "")),
    scenario("rrq_oack", "RRQ with blksize and tsize, answered by OACK", SMALL, |rig| requests(rig, OPTIONS)),
    scenario("ack_data_512", "ACK -> DATA, blksize 512", LARGE, |rig| blocks(rig, 512, 1)),
    scenario("ack_data_1428", "ACK -> DATA, blksize 1428", LARGE, |rig| blocks(rig, 1_428, 1)),
    scenario("window16_512", "per DATA, windowsize 16, blksize 512", LARGE, |rig| blocks(rig, 512, 16)),
    scenario("window16_1428", "per DATA, windowsize 16, blksize 1428", LARGE, |rig| blocks(rig, 1_428, 16)),
    scenario("ack_final", "the ACK of a last block", SMALL, final_acks),
    scenario("ack_duplicate", "the same ACK for the third time and more", LARGE, duplicate_acks),
    scenario("tick_idle", "a turn with 32 sessions and nothing due", LARGE, idle_turns),
    scenario("tick_resend", "per DATA that a timer sends again", LARGE, resends),
    scenario("arp_request", "ARP request, answered", SMALL, arp_requests),
    scenario("drop_not_ours", "a frame for another station", SMALL, frames_for_others),
    scenario("ack_stray", "an ACK without a session", SMALL, stray_acks),
];

/// What iPXE asks for.
const OPTIONS: &str = "blksize\x001432\0tsize\x000\0";

/// Plays one scenario: prints what the count has to be divided by, and the DPDK that ran.
///
/// On a thread of its own: the first thread's stack lies below the environment and the program's path, and how some copies are
/// done depends on where on the stack their ends are.
pub(crate) fn play(name: &str) -> Result<(), PlayError> {
    let scenario = ALL.iter().find(|each| each.name == name).ok_or_else(|| PlayError::Unknown(name.to_owned()))?;
    let play = || {
        let mut rig = Rig::new(scenario.file)?;
        let packets = (scenario.play)(&mut rig)?;
        println!("packets {packets}");
        println!("dpdk {}", rig.dpdk_version());
        Ok(())
    };
    std::thread::scope(|scope| scope.spawn(play).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A client and the TID that serves it.
#[derive(Clone, Copy)]
struct Peer {
    client: Client,
    tid: u16,
}

/// A burst's worth of clients that were not there before.
fn clients(round: u16) -> impl Iterator<Item = Client> {
    (0..CLIENTS).map(move |place| Client::new(round * CLIENTS + place))
}

/// Delivers a burst, then gives the lane turns until `wanted` replies came; one turn when none is wanted.
fn exchange(rig: &mut Rig, frames: &[Vec<u8>], wanted: usize, counted: bool) -> Result<Vec<Vec<u8>>, PlayError> {
    rig.deliver(frames)?;
    let mut replies = rig.turn(counted);
    while replies.len() < wanted {
        let more = rig.turn(counted);
        if more.is_empty() {
            break;
        }
        replies.extend(more);
    }
    if replies.len() == wanted { Ok(replies) } else { Err(PlayError::Replies { wanted, found: replies.len() }) }
}

/// Checks the outcome of all frames that were counted and of those before them.
fn expect_outcome(rig: &Rig, outcome: Outcome, frames: u64) -> Result<(), PlayError> {
    let found = rig.outcome(outcome);
    let name = outcome.name();
    if found == frames { Ok(()) } else { Err(PlayError::Outcome { name, frames, found }) }
}

/// Opens a transfer for each client of a round; `check` sees each reply.
fn open(
    rig: &mut Rig,
    round: u16,
    options: &str,
    counted: bool,
    check: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Peer>, PlayError> {
    let name = rig.served().name;
    let frames = clients(round).map(|client| client.request(name, options)).collect::<Result<Vec<_>, _>>()?;
    let replies = exchange(rig, &frames, BURST, counted)?;
    clients(round)
        .map(|client| {
            let reply = replies.iter().find_map(|frame| client.reply(frame)).ok_or(PlayError::Wrong(client))?;
            check(reply.payload).then_some(Peer { client, tid: reply.tid }).ok_or(PlayError::Wrong(client))
        })
        .collect()
}

fn acks(peers: &[Peer], block: u16) -> Result<Vec<Vec<u8>>, Unmade> {
    peers.iter().map(|peer| peer.client.ack(peer.tid, block)).collect()
}

/// Whether each peer got exactly these blocks of the file, in this order.
fn check_blocks(
    peers: &[Peer],
    replies: &[Vec<u8>],
    first: u16,
    count: u16,
    blksize: usize,
    file: &[u8],
) -> Result<(), PlayError> {
    for &Peer { client, tid } in peers {
        let mut theirs = replies.iter().filter_map(|frame| client.reply(frame)).filter(|reply| reply.tid == tid);
        for block in first..first + count {
            let start = (usize::from(block) - 1) * blksize;
            let bytes = &file[start.min(file.len())..(start + blksize).min(file.len())];
            let right =
                theirs.next().is_some_and(|reply| reply.payload.strip_prefix(&data_header(block)) == Some(bytes));
            if !right {
                return Err(PlayError::Wrong(client));
            }
        }
    }
    Ok(())
}

fn requests(rig: &mut Rig, options: &str) -> Result<u64, PlayError> {
    let mut expected = data_header(1).to_vec();
    expected.extend(rig.file());
    if !options.is_empty() {
        expected = format!("\0\u{6}blksize\x001432\0tsize\0{}\0", rig.file().len()).into_bytes();
    }
    for round in 0..=ROUNDS {
        open(rig, round, options, round > 0, |payload| payload == expected)?;
    }
    let all = u64::from(CLIENTS) * u64::from(ROUNDS + 1);
    expect_outcome(rig, Outcome::RequestOpened, all)?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS))
}

fn blocks(rig: &mut Rig, blksize: u16, window: u16) -> Result<u64, PlayError> {
    let options = format!("blksize\0{blksize}\0windowsize\0{window}\0");
    let peers = open(rig, 0, &options, false, |payload| payload.starts_with(b"\0\x06blksize"))?;
    let file = rig.file().to_vec();
    for round in 0..=ROUNDS {
        let acked = round * window;
        let replies = exchange(rig, &acks(&peers, acked)?, BURST * usize::from(window), round > 0)?;
        check_blocks(&peers, &replies, acked + 1, window, usize::from(blksize), &file)?;
    }
    expect_outcome(rig, Outcome::AckProgress, u64::from(CLIENTS) * u64::from(ROUNDS + 1))?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS) * u64::from(window))
}

fn final_acks(rig: &mut Rig) -> Result<u64, PlayError> {
    for round in 0..=ROUNDS {
        let peers = open(rig, round, "", false, |_| true)?;
        exchange(rig, &acks(&peers, 1)?, 0, round > 0)?;
    }
    expect_outcome(rig, Outcome::AckFinished, u64::from(CLIENTS) * u64::from(ROUNDS + 1))?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS))
}

/// Transfers of the large file whose second block is on its way.
fn under_way(rig: &mut Rig, round: u16) -> Result<Vec<Peer>, PlayError> {
    let peers = open(rig, round, "", false, |_| true)?;
    let replies = exchange(rig, &acks(&peers, 1)?, BURST, false)?;
    let file = rig.file().to_vec();
    check_blocks(&peers, &replies, 2, 1, 512, &file)?;
    Ok(peers)
}

fn duplicate_acks(rig: &mut Rig) -> Result<u64, PlayError> {
    let peers = under_way(rig, 0)?;
    let again = acks(&peers, 1)?;
    // The first repeat may restart the window (rule f); those that follow do nothing.
    rig.deliver(&again)?;
    rig.turn(false);
    for round in 0..=ROUNDS {
        exchange(rig, &again, 0, round > 0)?;
    }
    expect_outcome(rig, Outcome::AckRepeated, u64::from(CLIENTS) * u64::from(ROUNDS + 2))?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS))
}

fn idle_turns(rig: &mut Rig) -> Result<u64, PlayError> {
    under_way(rig, 0)?;
    for _ in 0..IDLE_TURNS {
        rig.advance_micros(100);
        let found = rig.turn(true).len();
        if found > 0 {
            return Err(PlayError::Replies { wanted: 0, found });
        }
    }
    Ok(IDLE_TURNS)
}

fn resends(rig: &mut Rig) -> Result<u64, PlayError> {
    let file = rig.file().to_vec();
    for round in 0..=ROUNDS {
        let peers = under_way(rig, round)?;
        // Silence, in small steps until shortly before the shortest wait (50 ms) is over.
        for _ in 0..45 {
            rig.advance_micros(1_000);
            let found = rig.turn(false).len();
            if found > 0 {
                return Err(PlayError::Replies { wanted: 0, found });
            }
        }
        rig.advance_micros(10_000);
        let replies = exchange(rig, &[], BURST, round > 0)?;
        check_blocks(&peers, &replies, 2, 1, 512, &file)?;
        let aborts = peers.iter().map(|peer| peer.client.abort(peer.tid)).collect::<Result<Vec<_>, _>>()?;
        exchange(rig, &aborts, 0, false)?;
    }
    expect_outcome(rig, Outcome::ClientError, u64::from(CLIENTS) * u64::from(ROUNDS + 1))?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS))
}

fn arp_requests(rig: &mut Rig) -> Result<u64, PlayError> {
    let frames = clients(0).map(Client::arp_request).collect::<Result<Vec<_>, _>>()?;
    for round in 0..=ROUNDS {
        let replies = exchange(rig, &frames, BURST, round > 0)?;
        for (client, reply) in clients(0).zip(&replies) {
            if !client.is_arp_reply(reply) {
                return Err(PlayError::Wrong(client));
            }
        }
    }
    expect_outcome(rig, Outcome::ArpReplied, u64::from(CLIENTS) * u64::from(ROUNDS + 1))?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS))
}

fn frames_for_others(rig: &mut Rig) -> Result<u64, PlayError> {
    let frames = clients(0).map(Client::ack_to_others).collect::<Result<Vec<_>, _>>()?;
    dropped(rig, &frames, Outcome::NotOurMac)
}

fn stray_acks(rig: &mut Rig) -> Result<u64, PlayError> {
    let frames = clients(0).map(|client| client.ack(client.port() + 5_000, 1)).collect::<Result<Vec<_>, _>>()?;
    dropped(rig, &frames, Outcome::NoSession)
}

/// Frames that are answered by nothing.
fn dropped(rig: &mut Rig, frames: &[Vec<u8>], outcome: Outcome) -> Result<u64, PlayError> {
    for round in 0..=ROUNDS {
        exchange(rig, frames, 0, round > 0)?;
    }
    expect_outcome(rig, outcome, u64::from(CLIENTS) * u64::from(ROUNDS + 1))?;
    Ok(u64::from(CLIENTS) * u64::from(ROUNDS))
}
