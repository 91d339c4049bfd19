from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forksocks.config.model import LogConfig, LogFormat
from forksocks.host.log import Log, sinks
from forksocks.host.log.sinks import SyslogSink
from tests.host.log.helpers import LONG, STAMP, drain, log_on


class TestStderr:
    """`private_copy`: ours may be non-blocking, the others' stays as it is."""

    def run(self, code: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        program = (
            "import os, sys, fcntl\n"
            "from forksocks.config.model import LogConfig\n"
            "from forksocks.host.log import Log\n"
            f"{code}"
        )
        command = [sys.executable, "-c", program]
        return subprocess.run(command, text=True, timeout=60, **kwargs)  # type: ignore[call-overload, no-any-return]

    CODE = (
        "log = Log.open(LogConfig())\n"
        "log.notice('hello')\n"
        "print(fcntl.fcntl(2, fcntl.F_GETFL) & os.O_NONBLOCK)\n"
        "log.close(1)\n"
    )

    @pytest.mark.parametrize("kind", ["pipe", "terminal", "socket", "file"])
    def test_lines_arrive_and_what_is_shared_stays_blocking(self, kind: str, tmp_path: Path) -> None:
        if kind == "pipe":
            reading, writing = os.pipe()
        elif kind == "terminal":
            reading, writing = os.openpty()
        elif kind == "socket":
            ours, theirs = socket.socketpair()
            reading, writing = ours.detach(), theirs.detach()
        else:
            writing = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
            reading = os.open(tmp_path / "log", os.O_RDONLY)
        try:
            result = self.run(self.CODE, stdout=subprocess.PIPE, stderr=writing)
            got = os.read(reading, 4096).decode()
        finally:
            os.close(writing)
            os.close(reading)
        assert re.fullmatch(STAMP + r" hello\r?\n", got)
        assert result.stdout.split()[0] == "0"
        assert result.returncode == 0

    def test_that_is_closed_takes_lines_in_silence(self) -> None:
        code = "os.close(2)\nlog = Log.open(LogConfig())\nother = os.open('/dev/zero', 0)\nlog.notice('x')\n"
        result = self.run(code + "print(other, log.fileno() > 2)\n", stdout=subprocess.PIPE)
        assert result.stdout == "2 True\n"
        assert result.returncode == 0

    def test_a_stopped_reader_of_a_blocking_descriptor_stops_nobody(self) -> None:
        reading, writing = os.pipe()
        log = log_on(writing)
        os.set_blocking(writing, True)
        log._sink._look()  # type: ignore[attr-defined] # noqa: SLF001
        for _ in range(1000):
            log.notice("filler", fill="x" * 200)
        log.close(1)
        assert len(drain(reading)) > 60_000
        os.close(reading)


class TestSyslog:
    @pytest.fixture
    def daemon(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(tmp_path / "log"))
            daemon.settimeout(LONG)
            yield daemon

    def test_a_line_is_a_datagram_with_priority_and_program(
        self, daemon: socket.socket, tmp_path: Path
    ) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog"))
        log.start_writer()
        log.error("failed", path="/x")
        log.notice("listening")
        head = rf"[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d forksocks\[{os.getpid()}\]: "
        assert re.fullmatch(f"<27>{head}failed path=/x", daemon.recv(4096).decode())
        assert re.fullmatch(f"<29>{head}listening", daemon.recv(4096).decode())
        log.close(LONG)

    def test_json_goes_there_too(self, daemon: socket.socket, tmp_path: Path) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog", format=LogFormat.JSON))
        log.notice("listening")
        assert json.loads(daemon.recv(4096).decode().partition("]: ")[2])["event"] == "listening"
        log.close(1)

    def test_a_restarted_daemon_is_found_again(self, daemon: socket.socket, tmp_path: Path) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog"))
        daemon.close()
        log.notice("lost")
        (tmp_path / "log").unlink()
        log.notice("lost")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
            again.bind(str(tmp_path / "log"))
            again.settimeout(LONG)
            log.notice("back")
            assert again.recv(4096).endswith(b"back")
            assert again.recv(4096).endswith(b"log-dropped by=supervisor lines=2")
        log.close(1)

    def test_a_stopped_daemon_stops_nobody(self, daemon: socket.socket, tmp_path: Path) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog"))
        for _ in range(5000):
            log.notice("line")
        log._sink.wait(0)  # noqa: SLF001
        log.close(1)
        assert daemon.recv(4096).endswith(b"line")

    def test_another_descriptor_takes_its_place(self, daemon: socket.socket, tmp_path: Path) -> None:
        sink = SyslogSink(str(tmp_path / "log"))
        other = SyslogSink(str(tmp_path / "log"))
        number = sink.fileno()
        sink.replace(os.dup(other.fileno()))
        other.close()
        assert sink.fileno() == number
        assert sink.write(b"line\n") == 5
        assert daemon.recv(4096) == b"line"
        sink.close()

    def test_confined_it_asks_for_a_connection_and_goes_on_with_what_comes(
        self, daemon: socket.socket, tmp_path: Path
    ) -> None:
        sink = SyslogSink(str(tmp_path / "log"))
        shared = os.dup(sink.fileno())
        asked: list[bool] = []
        sink.prepare_for_sandbox(99, lambda: asked.append(True))
        with socket.socket(fileno=shared) as other:
            other.shutdown(socket.SHUT_RDWR)  # of the connection that it had before
        assert sink.write(b"line\n") == 5
        assert not asked
        daemon.close()
        (tmp_path / "log").unlink()
        with pytest.raises(ConnectionError):
            sink.write(b"lost\n")
        assert asked == [True]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
            again.bind(str(tmp_path / "log"))
            again.settimeout(LONG)
            sink.replace(sink.duplicate())
            sink.write(b"back\n")
            assert again.recv(4096) == b"back"
        sink.close()

    def test_no_daemon_is_an_error_with_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sinks, "SYSLOG_SOCKETS", (str(tmp_path / "none"),))
        with pytest.raises(FileNotFoundError, match=r"no syslog daemon answers there .*none"):
            Log.open(LogConfig(to="syslog"))

    def test_a_directory_of_that_name_is_no_daemon(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sinks, "SYSLOG_SOCKETS", (str(tmp_path / "first"), str(tmp_path)))
        with pytest.raises(FileNotFoundError, match="first"):  # systemd's /run/log is one
            Log.open(LogConfig(to="syslog"))


def test_what_is_no_file_is_lifted_and_a_file_stays(tmp_path: Path, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    piped = sinks.DescriptorSink(os.dup(writing))
    old = piped.fileno()
    piped.prepare_for_sandbox(500, list)
    assert piped.fileno() == 500
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(old)
    piped.write(b"here\n")
    assert os.read(reading, 100) == b"here\n"
    piped.close()
    file = sinks.DescriptorSink(sinks.open_file(tmp_path / "log"))
    stays = file.fileno()
    file.prepare_for_sandbox(500, list)
    assert file.fileno() == stays
    file.close()


def test_a_pipe_is_opened_anew_but_a_file_is_not(tmp_path: Path, pipe: tuple[int, int]) -> None:
    blocking, writing = os.pipe()
    ours = sinks.private_copy(writing)
    assert fcntl.fcntl(ours, fcntl.F_GETFL) & os.O_NONBLOCK
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    copy = sinks.private_copy(file)
    os.write(file, b"one")
    os.write(copy, b"two")
    assert (tmp_path / "file").read_bytes() == b"onetwo"  # one offset, as the shell's `2>file` has it
    for fd in (blocking, writing, ours, file, copy, pipe[1]):
        os.close(fd)
