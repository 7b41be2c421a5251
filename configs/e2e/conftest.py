"""Fixtures: the content, hugepages, the server under test on each network, and a host of raw frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import content as content_files
import pytest
from appliance import BINARIES, BYPASSD, SERVER4, Server, Site, lossy_site, routed_site, tap_site, veth_site
from frames import RawHost
from lab import Hugepages

HUGEPAGES = 256


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--peer`: the same tests against a stock server, which shows whether a test is fair."""
    kinds = [BYPASSD, "dnsmasq", "in.tftpd", "atftpd"]
    parser.addoption("--peer", choices=kinds, default=BYPASSD, help="server under test (default: bypassd)")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Says early what is missing."""
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", returncode=4)
    if session.config.getoption("--peer") == BYPASSD and not (BINARIES / "bypassd").exists():
        pytest.exit("bypassd is not built: cargo build --release", returncode=4)


@dataclass(frozen=True)
class Content:
    """The tree that is served: its root and the bytes behind each name."""

    root: Path
    files: dict[str, bytes]


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """Which server is under test."""
    return request.config.getoption("--peer")


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """The tree, made once; nobody writes to it."""
    parent = tmp_path_factory.mktemp("content")
    for place in (parent, *parent.parents[:2]):
        place.chmod(0o755)  # a stock server gives up root before it opens files
    return Content(*content_files.build(parent))


@pytest.fixture(scope="session", autouse=True)
def hugepages(kind: str) -> Iterator[Hugepages | None]:
    """Pages for bypassd while the tests run; then as before."""
    if kind != BYPASSD:
        yield None
        return
    pages = Hugepages(HUGEPAGES)
    yield pages
    pages.close()


Starter = Callable[..., Server]


@pytest.fixture(scope="module")
def module_start(kind: str, content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """`module_start(site, *args, root=…, eal=…, lcores=…)` for a server that a module's tests share."""
    with ExitStack() as stack:
        yield _starter(kind, content, lambda: tmp_path_factory.mktemp("server"), stack)


@pytest.fixture
def start(kind: str, content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """`start(site, …)` for a test's own server; it is killed and its site removed when the test has not ended it."""
    if kind != BYPASSD:
        pytest.skip("looks into bypassd")
    with ExitStack() as stack:
        yield _starter(kind, content, lambda: tmp_path_factory.mktemp("server"), stack)


def _starter(kind: str, content: Content, work: Callable[[], Path], stack: ExitStack) -> Starter:
    def begin(site: Site, *args: str, root: Path | None = None, **options: Any) -> Server:
        stack.callback(site.close)
        server = Server(kind, site, root or content.root, work())
        stack.callback(server.kill)
        return server.start(*args, **options)

    return begin


def _shared(start: Starter, site: Site) -> Iterator[Server]:
    server = start(site)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["veth", "tap"])
def server(request: pytest.FixtureRequest, kind: str, module_start: Starter) -> Iterator[Server]:
    """The server on each of the two networks."""
    if request.param == "tap" and kind != BYPASSD:
        pytest.skip("only bypassd makes a tap")
    yield from _shared(module_start, tap_site() if request.param == "tap" else veth_site())


@pytest.fixture(scope="module")
def veth_server(module_start: Starter) -> Iterator[Server]:
    """The server at the end of a veth."""
    yield from _shared(module_start, veth_site())


@pytest.fixture(scope="module")
def quiet_server(module_start: Starter) -> Iterator[Server]:
    """The server at the end of a veth on which only the test speaks."""
    yield from _shared(module_start, veth_site(addressed=False))


@pytest.fixture(scope="module")
def routed_server(module_start: Starter) -> Iterator[Server]:
    """The server with its clients behind a router."""
    yield from _shared(module_start, routed_site())


@pytest.fixture(scope="module", params=["wire", "netem"])
def lossy_server(
    request: pytest.FixtureRequest, module_start: Starter, tmp_path_factory: pytest.TempPathFactory, netem: bool
) -> Iterator[Server]:
    """The server behind a cable that loses 5 % of the frames, each way."""
    if request.param == "netem" and not netem:
        pytest.skip("this kernel has no netem (CONFIG_NET_SCH_NETEM)")
    yield from _shared(module_start, lossy_site(5, request.param, tmp_path_factory.mktemp("wire")))


@pytest.fixture(scope="session")
def netem() -> bool:
    """Whether this kernel can lose frames by itself."""
    site = veth_site()
    try:
        return (
            site.client.run("tc", "qdisc", "add", "dev", "cli0", "root", "netem", "loss", "1%", check=False).returncode
            == 0
        )
    finally:
        site.close()


@pytest.fixture
def raw(quiet_server: Server) -> Iterator[RawHost]:
    """The only host on the quiet server's wire."""
    host = RawHost(quiet_server.site.client, quiet_server.site.link, SERVER4)
    yield host
    host.close()
