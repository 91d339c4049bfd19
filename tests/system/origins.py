"""Small servers behind the proxy, each in threads of the test: echo, HTTP with a page, sink and source.

Every origin knows its `port`, counts its connections, and ends with its block. They listen on 127.0.0.1, or
on ::1 when asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Bytes that repeat after a length that no buffer has, so that a lost or moved block shows.
BLOCK = hashlib.shake_256(b"forksocks").digest(1_048_573)
CHUNK = 256 * 1024


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 4096

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: tests break connections on purpose, and judge what the client saw."""


class Origin:
    """A listening server: where, and who came."""

    def __init__(self, host: str, server: socketserver.BaseServer) -> None:
        self.host = host
        self.port: int = server.server_address[1]  # type: ignore[index, assignment, unused-ignore]
        self.peers: list[tuple[str, int]] = []


Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(serve: Serve, host: str = "127.0.0.1", listener: socket.socket | None = None) -> Iterator[Origin]:
    """Call `serve` with every connection, in a thread of its own, and close it after.

    listener: a socket that listens already, in place of one on `host`.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            origin.peers.append(self.client_address[:2])
            with contextlib.suppress(OSError):
                serve(self.request)

    class Family(_Threads):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Family((host, 0), Handler, bind_and_activate=listener is None) as server:
        if listener is not None:
            server.socket.close()
            server.socket = listener
            server.server_address = listener.getsockname()
        origin = Origin(host, server)
        with _in_thread(server):
            yield origin


def echo(sock: socket.socket) -> None:
    """Send back what comes, until the client ends."""
    while data := sock.recv(65536):
        sock.sendall(data)


class Web(Origin):
    """An HTTP origin: `requested` counts the paths, `digests` has what was uploaded, by path."""

    def __init__(self, host: str, server: socketserver.BaseServer) -> None:
        super().__init__(host, server)
        self.requested: Counter[str] = Counter()
        self.digests: dict[str, str] = {}

    def url(self, path: str = "/", host: str | None = None) -> str:
        """Where a resource is; `host`: by which name."""
        name = host or self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}{path}"


Pages = Callable[[str], tuple[str, bytes] | None]


def _no_pages(path: str) -> None:
    return None


@contextlib.contextmanager
def web(pages: Pages = _no_pages, host: str = "127.0.0.1") -> Iterator[Web]:
    """Serve HTTP/1.1.

    GET /bytes/N answers N bytes of BLOCK repeated; PUT and POST take a body of any length and answer its
    SHA-1; anything else is asked of `pages`: path -> (media type, body), None for 404.
    """

    class Handler(_Handler):
        def setup(self) -> None:
            self.origin, self.pages = origin, pages
            super().setup()

    class Family(_Threads, ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Family((host, 0), Handler) as server:
        origin = Web(host, server)
        with _in_thread(server):
            yield origin


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    origin: Web
    pages: Pages

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what was asked for is counted."""

    def setup(self) -> None:
        super().setup()
        self.origin.peers.append(self.client_address[:2])

    def do_GET(self) -> None:
        self.origin.requested[self.path] += 1
        if self.path.startswith("/bytes/"):
            self._send_bytes(int(self.path.rpartition("/")[2]))
            return
        page = self.pages(self.path)
        kind, body = page or ("text/plain", b"no such page\n")
        self._answer(200 if page else 404, kind, body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.origin.requested[self.path] += 1
        digest = hashlib.sha1(usedforsecurity=False)
        for data in self._body():
            digest.update(data)
        self.origin.digests[self.path] = digest.hexdigest()
        self._answer(200, "text/plain", digest.hexdigest().encode())

    do_POST = do_PUT

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_bytes(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for piece in pattern(size):
            self.wfile.write(piece)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (data := self.rfile.read(min(left, CHUNK))):
            yield data
            left -= len(data)


def pattern(size: int) -> Iterator[memoryview]:
    """BLOCK repeated to `size` bytes."""
    block = memoryview(BLOCK)
    while size > 0:
        yield block[:size]
        size -= len(block)


def pattern_digest(size: int) -> str:
    """SHA-1 of what `pattern` gives: not against attackers, only fast."""
    digest = hashlib.sha1(usedforsecurity=False)
    for piece in pattern(size):
        digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def _in_thread(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
