"""What monitoring reads: the OpenMetrics endpoint, DPDK's telemetry commands, and the dashboard that is built on the former."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from appliance import BINARIES, SERVER4, Server, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from frames import RawHost
from lab import REPO, run, wait_for
from promql import Use, output_labels, uses
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from test_accounting import bad_traffic, settled
from test_clients import fetch
from tftp import Reader, error

LISTEN = "127.0.0.1:9569"
DASHBOARD = REPO / "configs" / "grafana-dashboard.json"
Labels = dict[str, str]


class Scrape:
    """One reading of /metrics by an independent parser of the OpenMetrics text format, which is strict."""

    def __init__(self, text: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name with these labels; there is at least one."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no sample {name}{labels}"
        return sum(found)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The same for each value of a label."""
        values = {s.labels[label] for s in self.samples if s.name == name and labels.items() <= s.labels.items()}
        return {value: self.sum(name, **{label: value}, **labels) for value in sorted(values)}

    def labels(self, name: str) -> list[Labels]:
        """The labels of each sample of that name."""
        return [s.labels for s in self.samples if s.name == name]


def get(server: Server, path: str, *flags: str) -> str:
    """What curl gets on the host's own network."""
    return server.site.server.run("curl", "-sS", "--max-time", "10", *flags, f"http://{LISTEN}{path}").stdout


def scrape(server: Server) -> Scrape:
    """/metrics, parsed."""
    return Scrape(get(server, "/metrics"))


@pytest.fixture(scope="module")
def busy_server(module_start: Starter, content: Content, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with two workers that has served and dropped frames of many kinds, and is quiet now."""
    if kind != "bypassd":
        pytest.skip("looks into bypassd")
    server = module_start(veth_site(), "--metrics", LISTEN, lcores="0@0,1@1,2@1")
    local = tmp_path_factory.mktemp("got") / "m1"
    for client in ("tftp-hpa", "atftp-1428-w16", "curl"):
        fetch(server, CLIENTS[client](SERVER4, "m1", local), local, content.files["m1"])
    server.site.client.run("ping", "-c", "3", "-i", "0.05", SERVER4)
    host = RawHost(server.site.client, server.site.link, SERVER4, "10.99.0.60")
    bad_traffic(host)
    host.close()
    settled(server)
    return server


def test_the_endpoint_says_where_it_is(busy_server: Server) -> None:
    assert f"metrics: http://{LISTEN}/metrics, for this host only" in busy_server.output()
    head = get(busy_server, "/metrics", "-I")
    assert head.startswith("HTTP/1.1 200 OK") and "application/openmetrics-text; version=1.0.0" in head
    assert get(busy_server, "/healthz") == "ok: 2 worker(s) run\n"
    assert get(busy_server, "/", "-o", "/dev/null", "-w", "%{http_code}") == "404"


def test_metrics_equal_show_stats(busy_server: Server) -> None:
    stats = settled(busy_server)
    now = scrape(busy_server)
    for fate in ("served", "dropped"):
        assert now.by("bypassd_frame_outcomes_total", "reason", fate=fate) == stats[fate]
    assert now.sum("bypassd_frame_outcomes_total") == stats["accounted_frames"] == stats["rx_frames"]
    assert now.sum("bypassd_tx_frames_total") - now.sum("bypassd_relayed_frames_total") == stats["tx_frames"]
    ended = now.by("bypassd_transfers_ended_total", "ending")
    assert ended == {ending: count for ending, count in stats["transfers"].items() if ending not in ("opened", "running")}
    for name, key in {
        "rx_frames_total": "rx_frames",
        "tx_dropped_frames_total": "tx_dropped",
        "data_bytes_total": "data_bytes",
        "data_blocks_total": "data_blocks",
        "data_blocks_resent_total": "blocks_resent",
        "pool_empty_total": "pool_empty",
    }.items():
        assert now.sum(f"bypassd_{name}") == stats[key], name
    assert now.sum("bypassd_transfers_opened_total") == stats["transfers"]["opened"] > 3
    assert now.sum("bypassd_sessions") == stats["transfers"]["running"]
    assert sum(stats["dropped"].values()) > 10 and stats["data_bytes"] >= 3_000_009, "there is something to compare"
    assert {labels["worker"] for labels in now.labels("bypassd_rx_frames_total")} == {"0", "1"}


def test_workers_files_and_ports_equal_what_bypassctl_shows(busy_server: Server) -> None:
    before = busy_server.ctl("show", "workers")["workers"]
    now = scrape(busy_server)
    after = busy_server.ctl("show", "workers")["workers"]
    for key, name, scale in (("polls", "polls", 1), ("empty_polls", "empty_polls", 1), ("busy_us", "busy_seconds", 1e6)):
        for low, high in zip(before, after, strict=True):
            value = now.sum(f"bypassd_{name}_total", worker=str(low["id"]), lcore=str(low["lcore"]))
            assert low[key] - 1 <= value * scale <= high[key] + 1, key
    assert now.sum("bypassd_workers") == now.sum("bypassd_worker_up") == 2
    files = busy_server.ctl("show", "files")
    assert (now.sum("bypassd_files"), now.sum("bypassd_file_bytes")) == (files["files"], files["bytes"])
    assert now.by("bypassd_files_left_out", "reason") == files["left_out"]
    assert now.sum("bypassd_catalogue_generation") == files["generation"]
    (port,) = busy_server.ctl("show", "port", "stats", "all")["ports"]
    (info,) = now.labels("bypassd_port_info")
    assert (info["device"], info["mac"], info["mtu"]) == (port["name"], port["mac"], str(port["mtu"]))
    for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "tx_errors"):
        assert now.sum(f"bypassd_port_{key}_total", port="0") == port[key], key
    assert now.sum("bypassd_port_up", port="0") == port["link"]["up"]
    (build,) = now.labels("bypassd_build_info")
    assert build["dpdk"].startswith("DPDK ")


def test_every_family_has_help_and_counters_only_rise(busy_server: Server, content: Content, tmp_path: Path) -> None:
    before = scrape(busy_server)
    fetch(busy_server, CLIENTS["curl"](SERVER4, "k200", tmp_path / "got"), tmp_path / "got", content.files["k200"])
    after = scrape(busy_server)
    assert all(family.documentation for family in after.families)
    assert all(family.name.startswith("bypassd_") for family in after.families)
    old = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in before.samples}
    for family in after.families:
        if family.type == "counter":
            for s in family.samples:
                assert s.value >= old[s.name, tuple(sorted(s.labels.items()))], s
    assert after.sum("bypassd_data_bytes_total") - before.sum("bypassd_data_bytes_total") >= 200_000


def test_histograms_count_every_transfer_that_was_done(busy_server: Server) -> None:
    stats = settled(busy_server)
    now = scrape(busy_server)
    assert now.sum("bypassd_transfer_seconds_count") == stats["transfers"]["done"] > 2
    assert now.sum("bypassd_transfer_seconds_bucket", le="+Inf") == stats["transfers"]["done"]
    assert now.sum("bypassd_transfer_seconds_sum") > 0
    first = [now.sum(f"bypassd_{name}_seconds_count") for name in ("first_data", "first_data_after_offer")]
    assert min(first) > 0 and sum(first) >= stats["transfers"]["done"], "with options and without"


def test_scrapes_do_not_disturb_a_transfer(busy_server: Server, content: Content, tmp_path: Path) -> None:
    local = tmp_path / "got"
    argv = busy_server.site.client.argv(*CLIENTS["atftp-1428-w16"](SERVER4, "m40", local))
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        scrapes = 0
        while client.poll() is None:
            assert scrape(busy_server).sum("bypassd_workers") == 2
            scrapes += 1
        assert client.returncode == 0
    assert local.read_bytes() == content.files["m40"] and scrapes > 0
    stats = settled(busy_server)
    assert stats["rx_frames"] == stats["accounted_frames"]


def test_a_place_that_is_taken_ends_the_run_at_once(start: Starter, content: Content, tmp_path: Path) -> None:
    server = start(veth_site(), "--metrics", LISTEN)
    second = [str(BINARIES / "bypassd"), "run", "--root", str(content.root), "--control", str(tmp_path / "ctl")]
    second += ["--vdev", "net_null0", "--address", "192.0.2.1/24", "--metrics", LISTEN]
    done = server.site.server.run(*second, check=False, timeout=10)
    assert done.returncode == 1 and f"{LISTEN} is in use" in done.stderr and "--metrics" in done.stderr, done
    assert "EAL arguments" not in done.stderr, "it looks before it begins anything long"
    config = tmp_path / "elsewhere.toml"
    config.write_text('[metrics]\nlisten = "192.0.2.77:9569"\n')
    done = server.site.server.run(*second[:-2], "--config", str(config), check=False, timeout=10)
    assert done.returncode == 1 and "192.0.2.77:9569 is no address of this host" in done.stderr, done
    server.stop()


# DPDK's telemetry.


class Telemetry:
    """`dpdk-telemetry.py`, run once per question."""

    def __init__(self, server: Server) -> None:
        assert server.process is not None
        self.prefix = f"bypassd-{server.process.pid}"

    def ask(self, *commands: str) -> list[Any]:
        """The reply to each command, without the command that DPDK repeats."""
        done = subprocess.run(
            ["/usr/bin/python3", "/usr/bin/dpdk-telemetry.py", "-f", self.prefix],
            input="".join(f"{command}\n" for command in commands),
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done
        # Not a terminal: no prompt, one line for each reply behind the greeting.
        lines = [line.removeprefix("--> ") for line in done.stdout.splitlines()]
        replies = [json.loads(line) for line in lines if line.startswith("{") and "max_output_len" not in line]
        assert len(replies) == len(commands), done.stdout
        return [reply[command.split(",")[0]] for reply, command in zip(replies, commands, strict=True)]


def entries(page: dict[str, Any]) -> list[dict[str, Any]]:
    """What a page lists, each under its place."""
    return [entry for place, entry in page.items() if place.isdigit()]


def test_telemetry_equals_show_stats(busy_server: Server) -> None:
    telemetry = Telemetry(busy_server)
    stats = settled(busy_server)
    told, drops, workers, latency = telemetry.ask(
        "/bypassd/stats", "/bypassd/drops", "/bypassd/workers", "/bypassd/latency"
    )
    for key, value in told.items():
        if key != "uptime_seconds":
            assert value == stats[key], key
    assert {"rx_frames", "served", "transfers", "data_bytes", "kernel_lost"} <= told.keys()
    assert drops == {"total": sum(stats["dropped"].values()), "reasons": stats["dropped"]}
    assert workers["total"] == 2 and "next" not in workers
    assert [(workers[key]["id"], workers[key]["state"]) for key in ("0", "1")] == [(0, "polling"), (1, "polling")]
    assert sum(workers[key]["rx_frames"] for key in ("0", "1")) == stats["rx_frames"]
    # The transfers that were done, by how long they took.
    assert latency["transfer"]["count"] == stats["transfers"]["done"]
    assert sum(count for bound, count in latency["transfer"].items() if bound.startswith("le_")) == stats["transfers"]["done"]


def test_telemetry_lists_its_commands_and_refuses_nonsense(busy_server: Server) -> None:
    telemetry = Telemetry(busy_server)
    (known,) = telemetry.ask("/")
    ours = {"/bypassd/stats", "/bypassd/workers", "/bypassd/sessions", "/bypassd/drops", "/bypassd/latency"}
    assert ours <= set(known)
    for nonsense in ("/bypassd/sessions,x", "/bypassd/sessions,-1", "/bypassd/stats,1", "/bypassd/workers,1,2"):
        assert telemetry.ask(nonsense) == [None], nonsense
    (beyond,) = telemetry.ask("/bypassd/workers,99")
    assert beyond == {"total": 2}


@pytest.fixture
def readers(busy_server: Server) -> Iterator[list[Reader]]:
    """Transfers that stand still."""
    with ExitStack() as stack:
        found = [stack.enter_context(Reader(busy_server.site.client, SERVER4)) for _ in range(37)]
        for reader in found:
            assert reader.request("m1", timeout=5) is not None
            reader.read(3)
        yield found
        for reader in found:
            reader.socket.sendto(error(0), reader.peer)


def test_telemetry_pages_through_the_sessions(busy_server: Server, readers: list[Reader]) -> None:
    telemetry = Telemetry(busy_server)
    seen: list[dict[str, Any]] = []
    place = ""
    sizes = []
    while place is not None:
        (page,) = telemetry.ask(f"/bypassd/sessions{place}")
        found = entries(page)
        seen += found
        sizes.append(len(found))
        place = f",{page['next']}" if "next" in page else None
    ports = {f"10.99.0.2:{reader.socket.getsockname()[1]}" for reader in readers}
    assert ports <= {session["client"] for session in seen}
    assert max(sizes) == 16 and len(sizes) >= 3
    assert all(session["file"] == "m1" for session in seen if session["client"] in ports)


def test_a_page_of_sessions_with_the_longest_names_fits(start: Starter, tmp_path: Path) -> None:
    root = tmp_path / "names"
    root.mkdir()
    for parent in (tmp_path, root):
        parent.chmod(0o755)
    name = '"\\' * 60 + "x" * 100  # each of the first characters takes two in JSON
    (root / name.replace("\\", "%")).write_bytes(bytes(100_000))
    (root / name.replace("\\", "%")).chmod(0o644)
    server = start(veth_site(), root=root)
    with ExitStack() as stack:
        for _ in range(16):
            reader = stack.enter_context(Reader(server.site.client, SERVER4))
            assert reader.request(name.replace("\\", "%"), timeout=5) is not None
        (page,) = Telemetry(server).ask("/bypassd/sessions")
        assert len(entries(page)) == 16 and page["0"]["file"].startswith('"%"%')
    server.signal()
    server.signal()
    server.wait()


# The dashboard.


def panels(node: Any) -> Iterator[dict[str, Any]]:
    """Every panel, those in rows included."""
    for panel in node.get("panels", []):
        yield panel
        yield from panels(panel)


def dashboard_queries() -> list[tuple[str, str]]:
    """Every query of the dashboard with the title of its panel; variables are asked for, too."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [(p["title"], target["expr"]) for p in panels(dashboard) for target in p.get("targets", [])]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found.append((f"${variable['name']}", variable["query"]["query"]))
    return found


def test_the_dashboard_asks_only_for_what_there_is(busy_server: Server) -> None:
    now = scrape(busy_server)
    queries = dashboard_queries()
    assert len(queries) >= 20
    for title, query in queries:
        for use in uses(query):
            check_use(now, title, use)


def test_legends_name_labels_that_the_results_have(busy_server: Server) -> None:
    now = scrape(busy_server)
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [target for panel in panels(dashboard) for target in panel.get("targets", [])]
    for target in targets:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        (use, *_) = uses(target["expr"])
        has = output_labels(target["expr"])
        known = set(now.labels(use.metric)[0]) | {"instance", "job"} if has is None else has
        assert named <= known, f"{target['expr']}: the result has no label {named - known}"


def check_use(now: Scrape, title: str, use: Use) -> None:
    """The metric exists, it has each label, and some sample has each value that is asked for."""
    found = now.labels(use.metric)
    assert found, f"{title}: there is no metric {use.metric}"
    # What Prometheus adds when it scrapes.
    added = {"job": "bypassd", "instance": LISTEN}
    known = set.intersection(*(set(labels) for labels in found)) | added.keys()
    assert use.labels <= known, f"{title}: {use.metric} has no label {use.labels - known}"
    matching = [labels for labels in found if use.matches({**added, **labels})]
    assert matching, f"{title}: no sample of {use.metric} matches {use.matchers}"


def test_every_metric_of_interest_is_on_the_dashboard(busy_server: Server) -> None:
    asked = {use.metric for _, query in dashboard_queries() for use in uses(query)}
    shown = {sample.name for sample in scrape(busy_server).samples}
    left_out = shown - asked
    # Histograms are asked for by their buckets.
    assert {name for name in left_out if not name.endswith(("_sum", "_count", "_created"))} <= {
        "bypassd_polls_total",
        "bypassd_empty_polls_total",
        "bypassd_port_info",
        "bypassd_port_speed_bits_per_second",
        "bypassd_relayed_frames_total",
        "bypassd_handed_over_frames_total",
    }, left_out


def test_the_checker_of_the_dashboard_can_fail(busy_server: Server) -> None:
    now = scrape(busy_server)
    for wrong in (
        "rate(bypassd_no_such_total[1m])",
        "sum by (colour) (rate(bypassd_rx_frames_total[1m]))",
        'bypassd_sessions{worker="99"}',
        'rate(bypassd_frame_outcomes_total{fate="drpped"}[1m])',
    ):
        with pytest.raises(AssertionError):
            for use in uses(wrong):
                check_use(now, "wrong", use)
    with pytest.raises(ValueError):
        uses("sum by (worker (rate(x[1m]))")
