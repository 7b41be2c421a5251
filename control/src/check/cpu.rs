//! Whether the workers have CPUs to themselves, awake ones, and a clock that they can read.

use super::context::join;
use super::iommu::grub_command;
use super::{Check, Context, Family, Verdict, check};
use crate::eal_args::EalError;
use crate::host::number_list;

pub(super) const CHECKS: &[Check] = &[
    check("lcores-allowed", Family::Cpu, "lcores allowed", allowed),
    check("lcores-online", Family::Cpu, "lcores online", online),
    check("lcores-shared", Family::Cpu, "lcores apart", apart),
    check("isolated-cpus", Family::Cpu, "isolated CPUs", isolated),
    check("governor", Family::Cpu, "governor", governor),
    check("smt-siblings", Family::Cpu, "SMT siblings", siblings),
    check("clock-source", Family::Cpu, "clock source", clock_source),
    check("invariant-tsc", Family::Cpu, "TSC", invariant_tsc),
];

const CPUS: &str = "/sys/devices/system/cpu";
const RAW: &str = "raw EAL arguments say the lcores";
const NO_WORKERS: &str = "it is not known which CPUs the workers get";

fn allowed(context: &Context<'_>) -> Vec<Verdict> {
    let lacking = context.lacking.iter().find(|error| !matches!(error, EalError::NoHugepages { .. }));
    let verdict = match (lacking, context.plan.placed.is_empty()) {
        (Some(error), _) => Verdict::refused(error.advice()),
        (None, true) => Verdict::skipped(RAW),
        (None, false) => Verdict::ok(format!("this process may use CPUs {}", join(&context.machine.allowed_cpus))),
    };
    vec![verdict.fact("allowed", context.machine.allowed_cpus.clone())]
}

fn online(context: &Context<'_>) -> Vec<Verdict> {
    let Some(online) = context.host.text(format!("{CPUS}/online")).map(|text| number_list(&text)) else {
        return vec![Verdict::skipped(format!("{CPUS}/online is not there"))];
    };
    if context.plan.placed.is_empty() {
        return vec![Verdict::skipped(RAW)];
    }
    let asked = context.plan.placed.iter().flat_map(|lcore| lcore.cpus.iter().copied());
    let mut off: Vec<u16> = asked.filter(|cpu| !online.contains(cpu)).collect();
    off.sort_unstable();
    off.dedup();
    let verdict = match off.first() {
        None => Verdict::ok("all are"),
        Some(&cpu) if context.host.exists(format!("{CPUS}/cpu{cpu}")) => Verdict::failure(
            format!("CPUs {} are switched off", join(&off)),
            format!("for cpu in {}; do echo 1 > {CPUS}/cpu$cpu/online; done", spaced(&off)),
        ),
        Some(_) => Verdict::failure(
            format!("CPUs {} do not exist", join(&off)),
            format!(
                "bypassd run -l {} ...",
                join(&online.iter().copied().take(context.plan.placed.len()).collect::<Vec<_>>())
            ),
        ),
    };
    vec![verdict]
}

fn spaced(numbers: &[u16]) -> String {
    join(numbers).replace(',', " ")
}

/// A worker that polls takes all of its CPU.
fn apart(context: &Context<'_>) -> Vec<Verdict> {
    if context.plan.placed.is_empty() {
        return vec![Verdict::skipped(RAW)];
    }
    if !context.plan.shares_cpu {
        return vec![Verdict::ok("each has a CPU of its own")];
    }
    let cpus = &context.machine.allowed_cpus;
    let sleep = context.plan.idle_sleep_us;
    let cause =
        format!("lcores share a CPU, so a worker without work sleeps for {sleep} us and answers that much later");
    let verdict = if cpus.len() >= context.plan.placed.len() {
        let enough: Vec<u16> = cpus.iter().copied().take(context.plan.placed.len()).collect();
        Verdict::warning(cause, format!("bypassd run -l {} ...", join(&enough)))
    } else {
        Verdict::warning(cause, "nproc --all").or("give this process, or the machine, more CPUs")
    };
    vec![verdict]
}

/// Whether the workers poll without pause, so that their CPUs are theirs alone.
fn polls(context: &Context<'_>) -> bool {
    context.plan.idle_sleep_us == 0
}

fn isolated(context: &Context<'_>) -> Vec<Verdict> {
    let workers = context.worker_cpus();
    if workers.is_empty() {
        return vec![Verdict::skipped(NO_WORKERS)];
    }
    if !polls(context) {
        return vec![Verdict::skipped("workers sleep when there is no work, so they need no CPUs to themselves")];
    }
    let Some(isolated) = context.host.text(format!("{CPUS}/isolated")).map(|text| number_list(&text)) else {
        return vec![Verdict::skipped(format!("{CPUS}/isolated is not there"))];
    };
    let others: Vec<u16> = workers.iter().copied().filter(|cpu| !isolated.contains(cpu)).collect();
    let verdict = if others.is_empty() {
        Verdict::ok(format!("worker CPUs {} are kept free of other programs", join(&workers)))
    } else {
        let list = join(&workers);
        Verdict::warning(
            format!(
                "worker CPUs {} are shared with other programs, which delay frames by whole time slices",
                join(&others)
            ),
            grub_command(&format!("isolcpus={list} nohz_full={list} rcu_nocbs={list}")),
        )
        .or("worker.idle_sleep_us = 50, in a lab; or systemd's AllowedCPUs= for the other services")
    };
    vec![verdict.fact("isolated", isolated).fact("workers", workers)]
}

fn governor(context: &Context<'_>) -> Vec<Verdict> {
    let workers = context.worker_cpus();
    let slow: Vec<(u16, String)> = workers
        .iter()
        .filter_map(|&cpu| Some((cpu, context.host.text(format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"))?)))
        .collect();
    if workers.is_empty() {
        return vec![Verdict::skipped(NO_WORKERS)];
    }
    if slow.is_empty() {
        return vec![Verdict::skipped("the kernel does not change the frequency of these CPUs")];
    }
    let (cpus, names): (Vec<u16>, Vec<String>) = slow.into_iter().filter(|(_, name)| name != "performance").unzip();
    let verdict = match names.first() {
        None => Verdict::ok("performance"),
        Some(_) if !polls(context) => Verdict::skipped("workers sleep when there is no work"),
        Some(name) => Verdict::warning(
            format!("worker CPUs {} have the governor {name}, which slows them down", join(&cpus)),
            format!(
                "for cpu in {}; do echo performance > {CPUS}/cpu$cpu/cpufreq/scaling_governor; done",
                spaced(&cpus)
            ),
        ),
    };
    vec![verdict]
}

/// Two workers on one core share its execution units.
fn siblings(context: &Context<'_>) -> Vec<Verdict> {
    let workers = context.worker_cpus();
    if workers.is_empty() {
        return vec![Verdict::skipped(NO_WORKERS)];
    }
    let of = |cpu: u16| {
        let text = context.host.text(format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"))?;
        Some(number_list(&text))
    };
    let known: Vec<(u16, Vec<u16>)> = workers.iter().filter_map(|&cpu| Some((cpu, of(cpu)?))).collect();
    if known.is_empty() {
        return vec![Verdict::skipped("the kernel does not tell which CPUs share a core")];
    }
    let pair = known.iter().find_map(|(cpu, siblings)| {
        let other = siblings.iter().find(|&other| other != cpu && workers.contains(other))?;
        Some((*cpu, *other))
    });
    let verdict = match pair {
        None => Verdict::ok("no two workers share a core"),
        Some((one, other)) => {
            // One CPU of each core, until there are as many as before.
            let mut cores: Vec<u16> = Vec::new();
            for &cpu in &context.machine.allowed_cpus {
                if of(cpu).is_none_or(|siblings| !siblings.iter().any(|sibling| cores.contains(sibling))) {
                    cores.push(cpu);
                }
            }
            let verdict = |mend: String| {
                Verdict::warning(
                    format!("workers on CPUs {one} and {other} share a core, and together do hardly more than one"),
                    mend,
                )
            };
            let wanted = context.plan.placed.len();
            if cores.len() >= wanted {
                cores.truncate(wanted);
                verdict(format!("bypassd run -l {} ...", join(&cores)))
            } else {
                verdict(format!("bypassd run -l {} ...", join(&cores)))
                    .or("fewer workers are as fast; or echo off > /sys/devices/system/cpu/smt/control")
            }
        }
    };
    vec![verdict]
}

fn clock_source(context: &Context<'_>) -> Vec<Verdict> {
    const PLACE: &str = "/sys/devices/system/clocksource/clocksource0";
    let available = context.host.text(format!("{PLACE}/available_clocksource")).unwrap_or_default();
    let verdict = match context.host.text(format!("{PLACE}/current_clocksource")).as_deref() {
        None => Verdict::skipped(format!("{PLACE} is not there")),
        Some("tsc") => Verdict::ok("tsc"),
        // Clocks of a virtual machine, read without a system call and kept right by the host.
        Some(name @ ("kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter")) => Verdict::ok(name),
        Some(name) if available.split_whitespace().any(|other| other == "tsc") => Verdict::warning(
            format!("{name}: the kernel did not trust the TSC, which the workers take their time from"),
            format!("echo tsc > {PLACE}/current_clocksource"),
        )
        .or("look for `tsc` in dmesg: why it was given up"),
        Some(name) => Verdict::warning(
            format!("{name}: the kernel found the TSC unfit, which the workers take their time from"),
            grub_command("tsc=reliable"),
        )
        .or("look for `tsc` in dmesg: why it was given up"),
    };
    vec![verdict]
}

/// The workers' clock must tick alike at every frequency and in sleep.
fn invariant_tsc(context: &Context<'_>) -> Vec<Verdict> {
    let cpuinfo = context.host.text("/proc/cpuinfo").unwrap_or_default();
    let Some(flags) = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")) else {
        return vec![Verdict::skipped("/proc/cpuinfo does not tell")];
    };
    let has = |wanted: &str| flags.split_whitespace().any(|flag| flag == wanted);
    let missing: Vec<&str> = ["constant_tsc", "nonstop_tsc"].into_iter().filter(|flag| !has(flag)).collect();
    let verdict = if missing.is_empty() {
        Verdict::ok("constant and does not stop")
    } else {
        Verdict::warning(
            format!(
                "this CPU does not promise {}: timers may run wrong when its frequency changes",
                missing.join(" and ")
            ),
            grub_command("intel_idle.max_cstate=1 processor.max_cstate=1"),
        )
        .or("in a virtual machine, pass the host's CPU through (QEMU: -cpu host,+invtsc)")
    };
    vec![verdict]
}
