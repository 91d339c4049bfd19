"""HTTP for the admin process: waitress, imported only where it is configured, and made fit for the sandbox.

Everything that needs files or system calls which a confined process has not is done when a Web is made; what
starts threads, when it is started. Requests are small and have no body, answers stay in memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MODULES = ("waitress", "prometheus_client")
REMEDY = "pip install 'forksocks[admin]' (Debian: apt install python3-waitress python3-prometheus-client)"
THREADS = 2
MOST_CONNECTIONS = 50
MOST_ANSWER = 16 << 20  # bytes that are kept in memory; beyond waitress would want a file
MOST_HEADERS, MOST_BODY = 16384, 1024  # bytes
IDLE = 10  # seconds after which a connection is closed that says nothing, or has not said all of a request
LOOK = 2  # seconds between two looks for those

# Answers a method, a path and the headers of WSGI (PEP 3333) with a status, a type and a body.
Answer = tuple[str, str, bytes]
Answers = Callable[[str, str, Mapping[str, str]], Answer]


def missing() -> Sequence[str]:
    """The packages that are not installed; nothing is imported."""
    return [name.replace("_", "-") for name in MODULES if importlib.util.find_spec(name) is None]


class Web:
    """A server on sockets that listen already."""

    def __init__(self, sockets: Sequence[socket.socket], answers: Answers) -> None:
        self._answers = answers
        logging.getLogger("waitress").addHandler(logging.NullHandler())  # clients' mistakes are theirs
        logging.getLogger("waitress").propagate = False
        waitress: Any = importlib.import_module("waitress")
        _be_impatient()
        self._dispatcher = importlib.import_module("waitress.task").ThreadedTaskDispatcher()
        self._server = waitress.create_server(
            self._serve, sockets=list(sockets), _dispatcher=self._dispatcher, threads=THREADS, ident=None,
            asyncore_use_poll=True, connection_limit=MOST_CONNECTIONS, channel_timeout=IDLE,
            cleanup_interval=LOOK, max_request_header_size=MOST_HEADERS, max_request_body_size=MOST_BODY,
            inbuf_overflow=MOST_ANSWER, outbuf_overflow=MOST_ANSWER, outbuf_high_watermark=MOST_ANSWER,
            clear_untrusted_proxy_headers=True,
        )  # fmt: skip
        # Not a call for this process; what is accepted has them of the listening socket.
        self._server.adj.socket_options = []

    def start(self) -> None:
        """Begin to answer. Raises RuntimeError without threads."""
        self._dispatcher.set_thread_count(THREADS)
        threading.Thread(target=self._server.run, name="web", daemon=True).start()

    def _serve(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        method = str(environ["REQUEST_METHOD"])
        status, kind, body = self._answers(method, str(environ["PATH_INFO"]), headers)
        start_response(
            status,
            [
                ("Content-Type", kind),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
            ],
        )
        return [] if method == "HEAD" else [body]


def _be_impatient() -> None:
    """For waitress' connections half a request is no activity, however slowly it trickles in."""
    servers, channels = (importlib.import_module(f"waitress.{name}") for name in ("server", "channel"))

    class Impatient(channels.HTTPChannel):  # type: ignore[misc, name-defined]
        last_activity: float
        begun = 0.0

        def received(self, data: bytes) -> bool:
            if self.request is None:
                self.begun = self.last_activity
            taken: bool = super().received(data)
            if self.request is not None:
                self.last_activity = self.begun
            return taken

    servers.BaseWSGIServer.channel_class = Impatient
