//! What the measurements say: medians with their spread over the rounds, ratios round by round, as a table or as JSON.

use super::Cpus;
use super::measure::{BASELINE_MAX, Sample, Scenario};
use super::server::Kind;
use serde::Serialize;
use std::fmt::Write;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The command that makes it again.
    pub(super) command: String,
    /// Concurrent transfers.
    pub(super) clients: usize,
    /// Length of one measurement.
    pub(super) seconds: f64,
    /// CPUs of server and client.
    pub(super) cpus: Cpus,
    /// What the machine used before each round, in percent of one core.
    pub(super) baseline_percent: Figure,
    /// What the hypervisor took while it was measured, in percent of the machine.
    pub(super) steal_percent: Figure,
    /// One for each server and scenario.
    pub(super) results: Vec<Outcome>,
    /// Stock servers over bypassd.
    pub(super) ratios: Vec<Ratio>,
    /// Servers and scenarios that were left out, and why.
    pub(super) notes: Vec<String>,
}

/// A number that was measured several times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    /// The middle one.
    pub(super) median: f64,
    /// The smallest.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Figure {
    /// None without numbers.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = sorted.first().zip(sorted.last())?;
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) };
        Some(Self { median, min, max })
    }

    /// Half of the way from the smallest to the largest, in percent of the median.
    fn spread_percent(self) -> f64 {
        (self.max - self.min) / 2.0 / self.median * 100.0
    }
}

/// CPU time, in nanoseconds, per unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Cost {
    /// Per whole transfer; none where a transfer is longer than a measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ns_per_transfer: Option<Figure>,
    /// Per DATA.
    pub(super) ns_per_block: Option<Figure>,
    /// Per file byte.
    pub(super) ns_per_byte: Option<Figure>,
}

impl Cost {
    fn of(scenario: Scenario, samples: &[Sample], time: impl Fn(&Sample) -> Option<f64>) -> Option<Self> {
        let per = |units: fn(&Sample) -> u64| {
            Figure::of(samples.iter().filter_map(|sample| Some(time(sample)? / units(sample) as f64)))
        };
        let ns_per_block = per(|sample| sample.blocks)?;
        let ns_per_transfer = scenario.has_whole_transfers().then(|| per(|sample| sample.transfers)).flatten();
        Some(Self { ns_per_transfer, ns_per_block: Some(ns_per_block), ns_per_byte: per(|sample| sample.bytes) })
    }

    /// Of the unit that the scenario is about.
    fn main(&self) -> Option<Figure> {
        self.ns_per_transfer.or(self.ns_per_block)
    }
}

/// One server in one scenario.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Which server.
    pub(super) server: Kind,
    /// What the clients did.
    pub(super) scenario: Scenario,
    /// False: it grants no window.
    pub(super) supported: bool,
    transfers_per_s: Option<Figure>,
    blocks_per_s: Option<Figure>,
    bytes_per_s: Option<Figure>,
    /// The machine less the idle machine and the client.
    cpu: Option<Cost>,
    /// The machine less the idle machine.
    cpu_with_client: Option<Cost>,
    /// The server's process alone; not of tftpd-hpa, whose children take their times with them.
    cpu_processes: Option<Cost>,
    /// A polling server: turns with work, and softirqs put off.
    cpu_busy: Option<Cost>,
    /// Of the turns with work, those parts that were in the kernel: the link's.
    cpu_busy_kernel: Option<Cost>,
    /// All rounds.
    pub(super) rounds: Vec<Sample>,
}

impl Outcome {
    /// Sums the rounds up; none of them: not supported.
    pub(super) fn new(server: Kind, scenario: Scenario, rounds: Vec<Sample>) -> Self {
        let rate =
            |units: fn(&Sample) -> u64| Figure::of(rounds.iter().map(|sample| units(sample) as f64 / sample.seconds));
        let cost = |time: &dyn Fn(&Sample) -> Option<f64>| Cost::of(scenario, &rounds, time);
        Self {
            server,
            scenario,
            supported: !rounds.is_empty(),
            transfers_per_s: scenario.has_whole_transfers().then(|| rate(|sample| sample.transfers)).flatten(),
            blocks_per_s: rate(|sample| sample.blocks),
            bytes_per_s: rate(|sample| sample.bytes),
            cpu: cost(&|sample| Some(sample.server_ns())),
            cpu_with_client: cost(&|sample| Some(sample.with_client_ns())),
            cpu_processes: cost(&|sample| (server != Kind::TftpdHpa).then_some(sample.process_ns)),
            cpu_busy: cost(&|sample| sample.polling.map(|_| sample.work_ns())),
            cpu_busy_kernel: cost(&|sample| sample.polling.map(|polling| polling.kernel_ns)),
            rounds,
        }
    }
}

/// How much more CPU time a stock server takes than bypassd, per transfer, or per block where transfers are not counted.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    /// The stock server.
    server: Kind,
    scenario: Scenario,
    /// Its share of the machine over bypassd's busy time, round by round.
    over_busy: Figure,
    /// The same over what of the busy time is not the link's.
    over_busy_without_link: Option<Figure>,
    /// The stock server's process alone over bypassd's busy time: less than the truth, but no other load is in it.
    processes_over_busy: Option<Figure>,
    /// What was hoped for.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<f64>,
}

/// Stock servers over bypassd, in each scenario that both have.
pub(super) fn ratios(results: &[Outcome]) -> Vec<Ratio> {
    let ours = |scenario| results.iter().find(|result| result.server == Kind::Bypassd && result.scenario == scenario);
    let stock = results.iter().filter(|result| result.server != Kind::Bypassd);
    stock.filter_map(|result| ratio(result, ours(result.scenario)?)).collect()
}

fn ratio(stock: &Outcome, ours: &Outcome) -> Option<Ratio> {
    let units = |sample: &Sample| match stock.scenario.has_whole_transfers() {
        true => sample.transfers as f64,
        false => sample.blocks as f64,
    };
    let over = |theirs: fn(&Sample) -> f64, own: fn(&Sample) -> f64| {
        let pairs = stock.rounds.iter().zip(&ours.rounds);
        Figure::of(pairs.map(|(stock, ours)| (theirs(stock) / units(stock)) / (own(ours) / units(ours))))
    };
    let own = |sample: &Sample| sample.polling.map_or(f64::NAN, |polling| polling.busy_ns - polling.kernel_ns);
    let goal = match (stock.scenario, stock.server) {
        (Scenario::OneBlock, Kind::TftpdHpa) => Some(100.0),
        (Scenario::OneBlock, Kind::Atftpd) => Some(50.0),
        (Scenario::OneBlock, Kind::Dnsmasq) => Some(20.0),
        _ => None,
    };
    Some(Ratio {
        server: stock.server,
        scenario: stock.scenario,
        over_busy: over(Sample::work_ns, Sample::work_ns)?,
        over_busy_without_link: over(Sample::work_ns, own),
        processes_over_busy: over(|sample| sample.process_ns, Sample::work_ns)
            .filter(|_| stock.server != Kind::TftpdHpa),
        goal,
    })
}

impl Report {
    /// Whether nothing else ran on the machine.
    fn is_quiet(&self) -> bool {
        self.baseline_percent.max <= BASELINE_MAX * 100.0
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let mut scenarios: Vec<Scenario> = self.results.iter().map(|result| result.scenario).collect();
        scenarios.sort_unstable();
        scenarios.dedup();
        // Writing to a string does not fail.
        for scenario in scenarios {
            let _ = writeln!(text, "{}", scenario.title());
            let _ = writeln!(
                text,
                "  {:<20} {:>11} {:>9} {:>7} | {:>11} {:>9} {:>8} {:>4} | {:>11} {:>11}",
                "server",
                "transfers/s",
                "blocks/s",
                "MB/s",
                "ns/transfer",
                "ns/block",
                "ns/byte",
                "±%",
                "with client",
                "process"
            );
            for result in self.results.iter().filter(|result| result.scenario == scenario) {
                write_result(&mut text, result);
            }
            text.push('\n');
        }
        self.write_ratios(&mut text);
        self.write_footnotes(&mut text);
        text
    }

    fn write_ratios(&self, text: &mut String) {
        if self.ratios.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "CPU time of stock servers over bypassd (busy), per transfer or, of a large file, per block"
        );
        for ratio in &self.ratios {
            let name = ratio.scenario.title().split(':').next().unwrap_or_default();
            let Figure { median, min, max } = ratio.over_busy;
            let _ = write!(text, "  {name:<18} {:<10} {median:>7.1}x ({min:.1} to {max:.1})", ratio.server.name());
            if let Some(processes) = ratio.processes_over_busy {
                let _ = write!(text, "; its process alone {:.1}x", processes.median);
            }
            if let Some(own) = ratio.over_busy_without_link {
                let _ = write!(text, "; over bypassd without the link {:.1}x", own.median);
            }
            match ratio.goal {
                Some(goal) if !self.is_quiet() => {
                    _ = writeln!(text, "; goal {goal}x: not judged, the machine was not quiet")
                }
                Some(goal) if median >= goal => _ = writeln!(text, "; goal {goal}x: reached"),
                Some(goal) => _ = writeln!(text, "; goal {goal}x: missed"),
                None => text.push('\n'),
            }
        }
        text.push('\n');
    }

    fn write_footnotes(&self, text: &mut String) {
        let rounds = self.results.iter().map(|result| result.rounds.len()).max().unwrap_or_default();
        let _ = writeln!(
            text,
            "{} transfers at a time from one client thread on CPU {}, server on CPU {}; every byte compared. Medians of {rounds} interleaved\n\
             rounds of {} s; ±: half of the way from the smallest to the largest CPU figure.\n\
             CPU ns: the whole machine's user, nice, system, irq and softirq time (/proc/stat) less the idle machine's and the client\n\
             thread's. What the kernel does when the client sends (the link, and the server's receive path up to its socket) is the\n\
             client's; what it does when the server sends (the link, and the client's receive path) is the server's, for all alike.\n\
             \"with client\", per block: the client's share is in. \"process\", per block: the server's process alone, into which\n\
             other load on the machine does not come (of a forking server it would say nothing).\n\
             bypassd polls. \"whole core\": all of its core at the rate that this client and link reach, an upper bound. \"busy\": the turns\n\
             of its loop that had a frame, and ksoftirqd. \"the link\": the part of these turns in the kernel, net_af_packet's sends.",
            self.clients, self.cpus.client, self.cpus.server, self.seconds
        );
        let _ = writeln!(
            text,
            "Steal: {:.1} % of the machine (at most {:.1} %). Idle machine: {:.1} % of a core (at most {:.1} %).",
            self.steal_percent.median, self.steal_percent.max, self.baseline_percent.median, self.baseline_percent.max
        );
        if !self.is_quiet() {
            let _ = writeln!(
                text,
                "NOT QUIET: something else used more than {:.0} % of a core; the CPU figures hold its time too. Run it again alone.",
                BASELINE_MAX * 100.0
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
    }
}

fn write_result(text: &mut String, result: &Outcome) {
    let name = result.server.name();
    if !result.supported {
        let _ = writeln!(text, "  {name:<20} n/a");
        return;
    }
    let whole =
        |figure: Option<Figure>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{:.0}", figure.median));
    let per_block = |cost: Option<Cost>| whole(cost.and_then(|cost| cost.ns_per_block));
    let mut line = |name: &str, cost: Option<Cost>, first: bool| {
        let Some(cost) = cost else { return };
        // Rates, and what belongs to the measurement as a whole, stand in a server's first line.
        let once = |text: String| if first { text } else { String::new() };
        let decimal = |figure: Option<Figure>, unit: f64, digits| {
            figure.map_or_else(|| "-".to_owned(), |figure| format!("{:.digits$}", figure.median / unit))
        };
        let megabytes = once(decimal(result.bytes_per_s, 1e6, 1));
        let spread = cost.main().map_or_else(|| "-".to_owned(), |figure| format!("{:.0}", figure.spread_percent()));
        let _ = writeln!(
            text,
            "  {name:<20} {:>11} {:>9} {megabytes:>7} | {:>11} {:>9} {:>8} {spread:>4} | {:>11} {:>11}",
            once(whole(result.transfers_per_s)),
            once(whole(result.blocks_per_s)),
            whole(cost.ns_per_transfer),
            whole(cost.ns_per_block),
            decimal(cost.ns_per_byte, 1.0, 2),
            once(per_block(result.cpu_with_client)),
            once(per_block(result.cpu_processes)),
        );
    };
    if result.cpu_busy.is_some() {
        line(&format!("{name}, whole core"), result.cpu, true);
        line(&format!("{name}, busy"), result.cpu_busy, false);
        line("  of it the link", result.cpu_busy_kernel, false);
    } else {
        line(name, result.cpu, true);
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Polling;
    use super::*;

    fn sample(transfers: u64, server_ns: f64, busy_ns: Option<f64>) -> Sample {
        Sample {
            seconds: 2.0,
            transfers,
            blocks: transfers,
            bytes: transfers * 400,
            machine_ns: server_ns + 500.0,
            client_ns: 500.0,
            polling: busy_ns.map(|busy_ns| Polling { busy_ns, kernel_ns: busy_ns * 0.75, ..Polling::default() }),
            ..Sample::default()
        }
    }

    fn report() -> Report {
        let ours =
            vec![sample(100, 2e9, Some(1_000.0)), sample(100, 2e9, Some(2_000.0)), sample(200, 2e9, Some(2_000.0))];
        let stock = vec![sample(10, 5_000.0, None), sample(10, 6_000.0, None), sample(10, 7_000.0, None)];
        let results = vec![
            Outcome::new(Kind::Bypassd, Scenario::OneBlock, ours),
            Outcome::new(Kind::Dnsmasq, Scenario::OneBlock, stock),
            Outcome::new(Kind::Dnsmasq, Scenario::Windows16, Vec::new()),
        ];
        let figure = Figure { median: 1.0, min: 1.0, max: 1.0 };
        Report {
            command: "bypassbench peers".to_owned(),
            clients: 64,
            seconds: 2.0,
            cpus: Cpus { server: 1, client: 0 },
            baseline_percent: figure,
            steal_percent: figure,
            ratios: ratios(&results),
            results,
            notes: Vec::new(),
        }
    }

    #[test]
    fn medians_are_of_odd_and_even_numbers() {
        let of = |numbers: &[f64]| Figure::of(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Figure { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(Figure { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(of(&[4.0, 6.0, 5.0]).map(Figure::spread_percent), Some(20.0));
    }

    #[test]
    fn ratios_pair_the_rounds_and_take_the_busy_time() {
        let report = report();
        let [ratio] = &report.ratios[..] else { panic!("{:?}", report.ratios) };
        // Rounds: 500/10, 600/20, 700/10.
        assert_eq!(ratio.over_busy, Figure { median: 50.0, min: 30.0, max: 70.0 });
        assert_eq!(ratio.over_busy_without_link.map(|own| own.median), Some(200.0));
        assert_eq!(ratio.goal, Some(20.0));
    }

    #[test]
    fn the_table_has_each_server_and_says_where_it_has_nothing() {
        let table = report().table();
        let has = |name: &str, words: &[&str]| {
            table.lines().any(|line| line.trim().starts_with(name) && words.iter().all(|word| line.contains(word)))
        };
        assert!(has("dnsmasq", &["5", "600", "1.50"]), "{table}");
        assert!(has("bypassd, busy", &["10"]), "{table}");
        assert!(has("dnsmasq", &["n/a"]), "{table}");
        assert!(has("one-block", &["50.0x", "goal 20x: reached"]), "{table}");
        assert!(!table.contains("NOT QUIET"), "{table}");
    }

    #[test]
    fn a_noisy_machine_is_named() {
        let noisy = Figure { median: 1.0, min: 1.0, max: 40.0 };
        let table = Report { baseline_percent: noisy, ..report() }.table();
        assert!(table.contains("NOT QUIET") && !table.contains("reached"), "{table}");
    }

    #[test]
    fn json_has_the_figures_by_name() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["results"][1]["server"], "dnsmasq");
        assert_eq!(json["results"][1]["cpu"]["ns_per_transfer"]["median"], 600.0);
        assert_eq!(json["results"][0]["cpu_busy"]["ns_per_transfer"]["median"], 10.0);
        assert_eq!(json["ratios"][0]["over_busy"]["median"], 50.0);
        assert_eq!(json["results"][2]["supported"], false);
    }
}
