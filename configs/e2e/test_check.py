"""`bypassd check` on a bare and on a prepared machine, as root and as nobody; `run` refuses in the same words."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from appliance import BINARIES, Site, veth_site
from conftest import Content, Starter

NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
# What a virtual machine may lack without fault of the run's.
OF_THE_MACHINE = {"clock-source", "invariant-tsc"}

DEMANDING = """
root = "/nonexistent/boot"
address = {{ 0 = ["192.0.2.1/24"], 1 = ["198.51.100.1/24"] }}
[eal]
allow = ["0000:7f:1f.7"]
vdev = ["net_af_packet0,iface=absent0"]
lcores = "0,120"
huge = true
memory_mib = 1048576
[control]
socket = "{place}/deep/down/control.sock"
group = "no-such-group"
"""

PREPARED = """
root = "{place}/root"
address = ["10.99.0.1/24", "fd00::1/64"]
[eal]
vdev = ["net_af_packet0,iface=srv0"]
huge = false
{eal}
[worker]
idle_sleep_us = 50
[control]
socket = "{place}/control.sock"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that nobody can look into too, with a small clean root."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    (root / "pxelinux.0").write_bytes(b"boot")
    return tmp_path


def write(place: Path, text: str, **words: str) -> Path:
    """A configuration in `place`."""
    config = place / "bypassd.toml"
    config.write_text(text.format(place=place, **words))
    return config


def check(
    place: Path, *args: str, site: Site | None = None, user: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end. The run-time folder is one of its own, so that runs of other tests do not show."""
    runtime = place / "runtime"
    runtime.mkdir(exist_ok=True)
    binary = BINARIES / "bypassd"
    if user:
        binary = Path(shutil.copy(binary, place / "bypassd"))
    argv = [*(user or []), str(binary), "check", *args]
    argv = site.server.argv(*argv) if site else argv
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RUNTIME_DIRECTORY": str(runtime)},
    )
    assert not list(runtime.iterdir()), "it left something behind"
    assert not done.stderr, done.stderr
    return done


def report(*args: Any, **options: Any) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The findings by their check, and the summary, which is compared with both and with the exit status."""
    done = check(*args, "--json", **options)
    shown = json.loads(done.stdout)
    findings, summary = shown["checks"], shown["summary"]
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        by_check.setdefault(finding["id"], []).append(finding)
        assert finding["status"] in ("ok", "warning", "failure")
        assert (finding["status"] == "ok") == ("mend" not in finding), finding
        assert finding["cause"], finding
    count = {status: sum(f["status"] == status for f in findings) for status in ("ok", "warning", "failure")}
    expected = (len(findings), count["ok"], count["warning"], count["failure"])
    assert (summary["checks"], summary["ok"], summary["warnings"], summary["failures"]) == expected
    status = 2 if count["failure"] else 1 if count["warning"] else 0
    assert (summary["exit_status"], done.returncode) == (status, status)
    assert len(by_check) >= 25
    return by_check, summary


def failures(by_check: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The failures by their check."""
    return {name: f for name, found in by_check.items() for f in found if f["status"] == "failure"}


@pytest.mark.parametrize("user", [None, NOBODY], ids=["root", "nobody"])
def test_a_bare_machine_and_a_demanding_configuration(place: Path, user: list[str] | None) -> None:
    config = write(place, DEMANDING)
    failed = failures(report(place, "--config", str(config), user=user)[0])
    for name, cause, mend in [
        ("hugepages", "eal.huge is set, but", "nr_hugepages"),
        ("pci-device", "there is no such PCI device", "dpdk-devbind.py"),
        ("interface", "there is no interface absent0", "ip link add absent0"),
        ("lcores-allowed", "CPU 120 of `0,120` is not among those", "bypassd run -l 0"),
        ("control-folder", "/deep/down is not there", "mkdir -p"),
        ("control-group", "there is no group `no-such-group`", "groupadd --system no-such-group"),
        ("content-root", "the root /nonexistent/boot does not exist", "mkdir -p /nonexistent/boot"),
    ]:
        assert cause in failed[name]["cause"], failed[name]
        assert mend in failed[name]["mend"], failed[name]
    assert ("capabilities" in failed) == (user is not None), "nobody has none"


def test_run_refuses_before_eal_in_the_same_words(place: Path) -> None:
    config = write(place, DEMANDING)
    failed = failures(report(place, "--config", str(config))[0])
    done = subprocess.run(
        [BINARIES / "bypassd", "run", "--config", config],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    for name, finding in failed.items():
        if finding["family"] != "content":  # found out by the load, which never began
            assert finding["cause"] in done.stderr and finding["mend"] in done.stderr, (name, done.stderr)
    assert "EAL:" not in done.stderr, done.stderr


def test_people_see_lines_by_family_and_a_sum(place: Path) -> None:
    done = check(place, "--config", str(write(place, DEMANDING)))
    ok = r"\d+ ok \(\d+ of no concern, shown by --all\)"
    assert re.search(rf"^\d+ checks: {ok}, \d+ warnings?, \d+ failures$", done.stdout, re.M), done.stdout
    assert re.search(r"^memory$\n(?: .*\n)*  failure  hugepages +eal\.huge is set.*\n +mend: echo ", done.stdout, re.M)
    assert len(check(place, "--all").stdout) > len(check(place).stdout)


def test_a_plain_machine_without_any_flag(place: Path) -> None:
    for user in (None, NOBODY):
        by_check, _ = report(place, user=user)
        assert "only the machine was looked at" in by_check["configuration"][0]["cause"]


def test_a_prepared_machine_is_clean_and_serves(start: Starter, place: Path) -> None:
    site = veth_site()
    config = write(place, PREPARED, eal="")
    by_check, summary = report(place, "--config", str(config), site=site)
    found = {name for name, all_found in by_check.items() if any(f["status"] != "ok" for f in all_found)}
    assert found <= OF_THE_MACHINE, [by_check[name] for name in found]
    assert summary["failures"] == 0
    server = start(site, "--config", str(config), root=place / "root")
    for line in server.output().splitlines():
        assert not re.match(r"bypassd: (warning|failure): (?!clock source|TSC)", line), line
    # The same check beside the run: its socket is taken.
    failed = failures(report(place, "--config", str(config), "--control", str(server.control), site=site)[0])
    assert set(failed) == {"control-socket"}, failed
    assert failed["control-socket"]["mend"] == f"bypassctl --control {server.control} stop"
    server.stop()


def test_a_file_prefix_in_use_is_noticed(start: Starter, place: Path, content: Content) -> None:
    site = veth_site()
    config = write(place, PREPARED, eal=f'secondary_processes = true\nfile_prefix = "check-{os.getpid()}"')
    server = start(site, "--config", str(config), root=content.root)
    done = subprocess.run(
        site.server.argv(str(BINARIES / "bypassd"), "check", "--json", "--config", str(config)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = [f for f in json.loads(done.stdout)["checks"] if f["id"] == "file-prefix"]
    assert found[0]["status"] == "failure", found
    assert "bypassd (" in found[0]["cause"] and found[0]["mend"].startswith("kill "), found
    server.kill()  # EAL would leave the folder behind
    shutil.rmtree(f"/var/run/dpdk/check-{os.getpid()}", ignore_errors=True)


def test_what_is_wrong_in_a_namespace_is_noticed(place: Path) -> None:
    site = veth_site()
    try:
        config = str(write(place, PREPARED, eal=""))
        site.server.run("ip", "address", "add", "10.99.0.1/24", "dev", "srv0")
        site.server.run("ip", "route", "add", "default", "via", "10.99.0.2")
        site.client.run("ip", "link", "set", "cli0", "down")
        by_check, _ = report(place, "--config", config, site=site)
        assert by_check["address-conflict"][0]["status"] == "failure"
        assert by_check["address-conflict"][0]["mend"] == "ip address del 10.99.0.1 dev srv0"
        assert by_check["default-route"][0]["status"] == "warning"
        assert "no carrier" in by_check["link"][0]["cause"], by_check["link"]
        site.server.run("sh", "-c", by_check["address-conflict"][0]["mend"])
        site.client.run("ip", "link", "set", "cli0", "up")
        by_check, summary = report(place, "--config", config, "--allow-default-route", site=site)
        assert summary["failures"] == 0, failures(by_check)
    finally:
        site.close()


def test_content_that_cannot_be_served_is_named(place: Path) -> None:
    root = place / "root"
    (root / "secret").write_bytes(b"x")
    (root / "secret").chmod(0o600)
    (root / "open").write_bytes(b"x")
    (root / "open").chmod(0o666)
    (root / "gone").symlink_to("nowhere")
    by_check, _ = report(place, "--config", str(write(place, PREPARED, eal="")))
    for name, path in [("content-unreadable", "secret"), ("content-writable", "open"), ("content-links", "gone")]:
        assert by_check[name][0]["status"] == "warning" and path in by_check[name][0]["cause"], by_check[name]
    subprocess.run(by_check["content-unreadable"][0]["mend"], shell=True, check=True)
    subprocess.run(by_check["content-writable"][0]["mend"], shell=True, check=True)
    by_check, _ = report(place, "--config", str(write(place, PREPARED, eal="")))
    assert by_check["content-unreadable"][0]["status"] == by_check["content-writable"][0]["status"] == "ok"
    assert by_check["content-size"][0]["facts"]["files"] == 3
