//! CPU time as the kernel counts it: the machine's (`/proc/stat`), threads' and processes' (`/proc/PID/stat`), softirq threads'.
//! Parses and subtracts; reads nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Nanoseconds of one tick in `/proc` (`USER_HZ` is 100 on every Linux port that runs DPDK).
const TICK_NS: u64 = 10_000_000;

/// The machine's time, summed over its CPUs, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// user, nice, system, irq and softirq; guests are in user already.
    pub(super) busy_ns: u64,
    /// softirq alone: what ran in no thread's name.
    pub(super) softirq_ns: u64,
    /// idle and iowait.
    pub(super) idle_ns: u64,
    /// Taken by the hypervisor.
    pub(super) steal_ns: u64,
}

impl Machine {
    /// Reads it now.
    pub(super) fn read() -> io::Result<Self> {
        parsed("/proc/stat", Self::parse)
    }

    /// The first line of `/proc/stat` (proc(5)): user nice system idle iowait irq softirq steal guest guest_nice.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [user, nice, system, idle, iowait, irq, softirq, steal] = *ticks.first_chunk()?;
        Some(Self {
            busy_ns: (user + nice + system + irq + softirq) * TICK_NS,
            softirq_ns: softirq * TICK_NS,
            idle_ns: (idle + iowait) * TICK_NS,
            steal_ns: steal * TICK_NS,
        })
    }

    /// What has passed since an earlier reading.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            busy_ns: self.busy_ns.saturating_sub(before.busy_ns),
            softirq_ns: self.softirq_ns.saturating_sub(before.softirq_ns),
            idle_ns: self.idle_ns.saturating_sub(before.idle_ns),
            steal_ns: self.steal_ns.saturating_sub(before.steal_ns),
        }
    }
}

/// The time of one thread or process, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// In its own code.
    pub(super) user_ns: u64,
    /// In the kernel on its behalf, softirqs that it raised and ran included.
    pub(super) system_ns: u64,
    /// Of children that ended and were waited for.
    pub(super) children_ns: u64,
}

impl Times {
    /// Of a process, all its threads.
    pub(super) fn of_process(pid: u32) -> io::Result<Self> {
        parsed(format!("/proc/{pid}/stat"), Self::parse)
    }

    /// Of each thread of a process.
    pub(super) fn of_threads(pid: u32) -> io::Result<BTreeMap<u32, Self>> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may have ended meanwhile.
            if let Ok(times) = parsed(entry.path().join("stat"), Self::parse) {
                threads.insert(tid, times);
            }
        }
        Ok(threads)
    }

    /// proc(5): `utime`, `stime`, `cutime` and `cstime` are fields 14 to 17; field 2 is a name that may hold blanks and `)`.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || ticks.next()?.ok();
        let (user, system) = (next()?, next()?);
        let children = next()? + next()?;
        Some(Self { user_ns: user * TICK_NS, system_ns: system * TICK_NS, children_ns: children * TICK_NS })
    }

    /// Everything.
    pub(super) const fn all_ns(self) -> u64 {
        self.user_ns + self.system_ns + self.children_ns
    }

    /// What has passed since an earlier reading.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(before.user_ns),
            system_ns: self.system_ns.saturating_sub(before.system_ns),
            children_ns: self.children_ns.saturating_sub(before.children_ns),
        }
    }
}

/// The thread that worked most between two readings.
pub(super) fn busiest(before: &BTreeMap<u32, Times>, after: &BTreeMap<u32, Times>) -> Times {
    let passed = after.iter().map(|(tid, times)| times.since(before.get(tid).copied().unwrap_or_default()));
    passed.max_by_key(|times| times.all_ns()).unwrap_or_default()
}

/// The kernel threads that softirqs are put off to; their time is in no process.
#[derive(Debug)]
pub(super) struct SoftirqThreads(Vec<u32>);

impl SoftirqThreads {
    /// Finds them.
    pub(super) fn find() -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may have ended meanwhile.
            if fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with("ksoftirqd/")) {
                found.push(pid);
            }
        }
        Ok(Self(found))
    }

    /// Their time so far, in nanoseconds; none where the kernel does not tell (no `CONFIG_SCHED_INFO`).
    pub(super) fn read(&self) -> u64 {
        let of = |pid: &u32| parsed(format!("/proc/{pid}/schedstat"), run_time).unwrap_or_default();
        self.0.iter().map(of).sum()
    }
}

/// The first number of `/proc/PID/schedstat`: time on a CPU, in nanoseconds.
fn run_time(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The calling thread's CPU time, in nanoseconds.
pub(super) fn this_thread_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

fn parsed<T>(path: impl AsRef<Path>, parse: impl Fn(&str) -> Option<T>) -> io::Result<T> {
    let path = path.as_ref();
    let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is not as proc(5) says", path.display()));
    parse(&fs::read_to_string(path)?).ok_or_else(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  883459 61829 208859 1218217 10544 3 8160 1659 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 1\n";

    #[test]
    fn the_machine_is_busy_with_all_but_idle_iowait_steal_and_guests_twice() {
        let machine = Machine::parse(STAT).unwrap();
        assert_eq!(machine.busy_ns, (883_459 + 61_829 + 208_859 + 3 + 8_160) * TICK_NS);
        assert_eq!(machine.softirq_ns, 8_160 * TICK_NS);
        assert_eq!(machine.idle_ns, (1_218_217 + 10_544) * TICK_NS);
        assert_eq!(machine.steal_ns, 1_659 * TICK_NS);
        assert_eq!(machine.since(machine), Machine::default());
    }

    #[test]
    fn what_is_no_stat_is_refused() {
        for text in ["", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  1 2 3 4 5 6 7\n", "cpu  1 2 3 4 5 6 7 x\n"] {
            assert_eq!(Machine::parse(text), None, "{text:?}");
        }
        for text in ["", "1 (a", "1 (a) S 2 3"] {
            assert_eq!(Times::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let line = "71 (a) b (c) S 1 71 71 0 -1 4194560 5 6 7 8 100 20 3 4 20 0 1 0 99 1 1";
        let times = Times::parse(line).unwrap();
        assert_eq!(times, Times { user_ns: 100 * TICK_NS, system_ns: 20 * TICK_NS, children_ns: 7 * TICK_NS });
        assert_eq!(times.all_ns(), 127 * TICK_NS);
    }

    #[test]
    fn the_busiest_thread_is_that_of_the_interval() {
        let times = |user_ns| Times { user_ns, ..Times::default() };
        let before = BTreeMap::from([(1, times(1_000)), (2, times(10))]);
        let after = BTreeMap::from([(1, times(1_001)), (2, times(60)), (3, times(40))]);
        assert_eq!(busiest(&before, &after), times(50));
    }

    #[test]
    fn this_machine_and_this_thread_can_be_read() {
        let (machine, thread) = (Machine::read().unwrap(), this_thread_ns());
        let mut sum = 0_u64;
        while this_thread_ns() < thread + 30_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        let passed = Machine::read().unwrap().since(machine);
        assert!(passed.busy_ns + passed.idle_ns + passed.steal_ns > 0, "{passed:?}");
        let own = Times::of_process(std::process::id()).unwrap();
        assert!(own.user_ns + own.system_ns >= 2 * TICK_NS, "{own:?}");
        assert!(!Times::of_threads(std::process::id()).unwrap().is_empty());
    }
}
