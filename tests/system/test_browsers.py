"""Real browsers load a page of fifty resources, all of it through the proxy, and take a screenshot of it.

Both browsers can be asked for a screenshot on their command line: they load the page, draw it, and end. No
driver is needed for that, and none can be missing or of another version than its browser.
"""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.system import origins
from tests.system.conftest import Start
from tests.system.origins import Web
from tests.system.programs import home, run
from tests.system.server import Server

PATIENCE = 280.0  # seconds; a browser may take a minute to start on a machine that is busy with other things
IMAGES, STYLES, SCRIPTS = 20, 15, 15
SCRIPT_BYTES = 300_000
RESOURCES = {
    *(f"/image/{n}" for n in range(IMAGES)),
    *(f"/style/{n}" for n in range(STYLES)),
    *(f"/script/{n}" for n in range(SCRIPTS)),
}
# The page counts what has arrived whole: images that were decoded, styles that apply, scripts that ran to
# their end. All of these hold up its load event; in that it reports the number, and waits for the answer, so
# that no browser can end before. Screenshots are taken after the load event.
PAGE = """<!doctype html><html><head><title>fifty</title><link rel="icon" href="data:,">
<style>body {{ font: 20px sans-serif }} img {{ width: 80px; height: 40px; margin: 3px }}</style></head>
<body><p id="text">loaded 0</p><script>
let loaded = 0;
function one() {{ document.getElementById("text").textContent = "loaded " + ++loaded; }}
function add(made) {{ document.body.append(made); return made; }}
for (let n = 0; n < {images}; n++)
  Object.assign(add(document.createElement("img")), {{ onload: one, src: "/image/" + n }});
for (let n = 0; n < {styles}; n++)
  Object.assign(add(document.createElement("link")),
    {{ rel: "stylesheet", onload: one, href: "/style/" + n }});
for (let n = 0; n < {scripts}; n++)
  add(document.createElement("script")).src = "/script/" + n;
window.onload = () => {{
  const report = new XMLHttpRequest();
  report.open("GET", "/loaded/" + loaded, false);
  report.send();
}};
</script></body></html>"""

# Firefox's preferences: the proxy as a person sets it, but for this machine's own names too, and no traffic
# of its own.
FIREFOX: Mapping[str, object] = {
    "network.proxy.type": 1,
    "network.proxy.socks_version": 5,
    "network.proxy.socks_remote_dns": True,
    "network.proxy.socks5_remote_dns": True,
    "network.proxy.no_proxies_on": "",
    "network.proxy.allow_hijacking_localhost": True,
    "app.normandy.enabled": False,
    "browser.region.network.url": "",
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}
CHROMIUM = (
    "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--no-sandbox",  # root and containers have none; it loads our page alone
    "--proxy-bypass-list=<-loopback>",  # its rule for this machine's own names, taken back
)  # fmt: skip


def page(path: str) -> tuple[str, bytes] | None:
    kind, _, number = path.strip("/").partition("/")
    if path == "/":
        return "text/html", PAGE.format(images=IMAGES, styles=STYLES, scripts=SCRIPTS).encode()
    if kind == "loaded":
        return "text/plain", b""
    if path not in RESOURCES:
        return None
    if kind == "image":
        return "image/png", png(int(number) * 12, 160, 255 - int(number) * 12)
    if kind == "style":
        return "text/css", f"#text {{ --style-{number}: 1 }}".encode()
    return "text/javascript", b"/*" + b" " * SCRIPT_BYTES + b"*/ one();"


def png(red: int, green: int, blue: int) -> bytes:
    """One coloured pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixel = zlib.compress(bytes((0, red, green, blue)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


@pytest.fixture
def site() -> Iterator[Web]:
    with origins.web(page) as web:
        yield web


@pytest.fixture
def folder() -> Iterator[Path]:
    """A browser's home with a short name: Chromium makes a unix socket in it, whose path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as name:
        yield Path(name)


Browser = Callable[[Server, str, Path, Path], None]  # the proxy, the page's address, home, screenshot


def firefox(server: Server, url: str, folder: Path, screenshot: Path) -> None:
    host, port = server.endpoint
    settings = {**FIREFOX, "network.proxy.socks": host, "network.proxy.socks_port": port}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items()]
    (folder / "user.js").write_text("".join(lines))
    run(
        "firefox-esr", "--headless", "--no-remote", "--profile", str(folder), "--window-size", "800,600",
        "--screenshot", str(screenshot), url, extra=home(folder), limit=PATIENCE,
    )  # fmt: skip


def chromium(server: Server, url: str, folder: Path, screenshot: Path) -> None:
    run(
        "chromium", *CHROMIUM, f"--user-data-dir={folder}", f"--proxy-server=socks5://{server.address}",
        "--window-size=800,600", f"--screenshot={screenshot}", url, extra=home(folder), limit=PATIENCE,
    )  # fmt: skip


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("browser", [firefox, chromium])
def test_a_browser_loads_a_page_of_fifty_resources(
    server: Start, site: Web, folder: Path, tmp_path: Path, browser: Browser
) -> None:
    started = server("-vv")
    screenshot = tmp_path / "screenshot.png"
    browser(started, site.url(host="localhost"), folder, screenshot)
    assert {path: n for path, n in site.requested.items() if path in RESOURCES} == dict.fromkeys(RESOURCES, 1)
    assert site.requested["/loaded/50"] == 1, site.requested
    assert screenshot.read_bytes().startswith(b"\x89PNG")
    started.stop()
    # Every connection that reached the origin was the proxy's, and the proxy was told a name.
    connected = [line for line in started.events("connected") if line["addr"] == f"{site.host}:{site.port}"]
    assert {line["to"] for line in connected} == {f"localhost:{site.port}"}
    assert {line["bound"] for line in connected} == {f"{host}:{port}" for host, port in site.peers}
    ended = started.events("end", to=f"localhost:{site.port}")
    assert sum(int(line["down"]) for line in ended) > SCRIPTS * SCRIPT_BYTES
