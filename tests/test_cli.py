"""The command as users run it: its output and its exit status, and no traceback whatever they do."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from forksocks import cli, options
from forksocks.config.load import load
from forksocks.config.show import effective
from tests.system import processes

COMMAND = [sys.executable, "-m", "forksocks"]
FEW = ["--workers", "1", "--threads", "8"]


def run(*arguments: str | bytes, stdout: int | IO[bytes] = subprocess.PIPE) -> tuple[int, str, str]:
    """Exit status, output, errors. Anything but a traceback is fine at first."""
    done = subprocess.run(
        [*COMMAND, *arguments], stdout=stdout, stderr=subprocess.PIPE, timeout=30, check=False
    )
    errors = done.stderr.decode()
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    return done.returncode, (done.stdout or b"").decode(), errors


def complaint(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What the command complains of, run in this process; its exit status has to be 2."""
    assert cli.main(arguments) == 2
    return capfd.readouterr().err.splitlines()


MORE_THAN_A_PIPE_HOLDS = 1 << 20
SLOW_MODULE = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
CONSOLE = "from forksocks.__main__ import {0}; {0}()"  # as the script does that pip makes


def test_help_is_one_screen_with_every_option() -> None:
    status, text, errors = run("--help")
    lines = text.splitlines()
    assert (status, errors) == (0, "")
    assert len(lines) <= 24  # of a terminal
    assert max(map(len, lines)) <= 80
    for option in (
        *("--config", "--workers", "--threads", "--users", "--user", "--check", "--show-config", "-v", "-q"),
        *("--log-format", "--daemon", "--pidfile", "--version", "--help", "--allow-from", "--allow-to"),
        *("--open-proxy", "--relay", "--sandbox", "--drain", "examples:", "forksocks(8)"),
        *(name for action in options.parser()._actions for name in action.option_strings),  # noqa: SLF001
    ):
        assert option in text


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    text = capfd.readouterr().out
    assert re.match(r"forksocks \d+\.\d+\.\d+\nPython 3\.\d+", text)
    assert "fast paths: " in text
    assert "sandbox layers: " in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--wokers", "3"], 'unknown option "--wokers"; did you mean "--workers"?'),
        (["--wokers=3"], 'unknown option "--wokers"; did you mean "--workers"?'),
        (["--xyzzy"], 'unknown option "--xyzzy"'),
        (["-p", "1080"], 'unknown option "-p"; an address stands alone, as in "forksocks :1080"'),
        (["--port=1080"], 'unknown option "--port"; an address stands alone, as in "forksocks :1080"'),
        (["check"], '"check" is no address; did you mean "--check"?'),
        (["--work", "3"], 'unknown option "--work"; did you mean "--workers"?'),
        (["--bogus"], 'unknown option "--bogus"'),
        (["--quiet"], 'unknown option "--quiet"; did you mean "-q"?'),
        (["--verbose"], 'unknown option "--verbose"; did you mean "-v"?'),
        (["--workers"], "--workers needs a value"),
        (["-c"], "--config needs a value"),
        (["-c", ""], "--config needs the name of a file"),
        (["--help=3"], "--help takes no value"),
        (["--daemon=yes"], "--daemon takes no value"),
        (["-v", "-q"], "-v and -q contradict each other"),
    ],
)
def test_wrong_usage(capfd: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    first, usage = complaint(capfd, *arguments)
    assert first == f"forksocks: {told}"
    assert usage == "forksocks: usage: forksocks [options] [ADDRESS:PORT ...]; forksocks --help says more"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "many"], '--workers: must be "auto" (twice the cores) or a whole number'),
        (["--drain", "5"], "--drain: must be a time"),
        (["--relay", "fast"], '--relay: must be "auto", "splice" or "copy", not "fast"'),
        (["--sandbox", "on"], '--sandbox: must be "auto", "require" or "off", not "on"'),
        (["--log-format", "xml"], '--log-format: must be "text" or "json", not "xml"'),
        (["--allow-from", "10.0.0.1/8"], "--allow-from: "),
        (["--allow-from", ""], "--allow-from: must not be empty"),
        (["--open-proxy", "--users", "u"], "--open-proxy: has no effect"),
        (["localhost:1080"], 'command line: "localhost:1080" is no address to listen on: names are'),
        ([""], "command line: must be an address"),
        (["-"], 'command line: "-" is no address to listen on: the port is missing'),
        (["--check", "--users", "/no/users"], "--users: /no/users: "),
        (["--pidfile", "/no/pid"], "--pidfile: /no/pid: there is no directory /no"),
        (["-c", "/no/file"], "/no/file: cannot be read: No such file or directory"),
        (["-c", "/"], "/: cannot be read: Is a directory"),
        (["-c", "a\0b"], '"a\\u0000b": cannot be read: embedded null byte'),
        (["-c", "a\x1b[31m"], '"a\\u001B[31m": cannot be read: No such file'),
        (["--pidfile", "/no/\x1b[31m"], r"--pidfile: /no/\x1b[31m: there is no directory /no"),
        (["--workers", "-1"], "from 1 to 1024, not -1"),
    ],
)
def test_wrong_values(capfd: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    (line,) = complaint(capfd, *arguments)
    assert line.startswith("forksocks: ")
    assert told in line


def test_all_problems_are_told_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.toml"
    path.write_text("[server]\nwokers = 1\n[lgo]\n")
    assert complaint(capfd, "-c", str(path), "--threads", "x", "1080") == [
        'forksocks: --threads: must be a whole number from 2 to 65536, not "x"',
        'forksocks: command line: "1080" is no address to listen on: write ":1080" for every address',
        f'forksocks: {path}:2: [server] unknown key "wokers"; did you mean "workers"?',
        f'forksocks: {path}:3: unknown section "lgo"; did you mean "log"?',
    ]


def test_a_users_file_that_is_none(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("alice:secret\n")
    users.chmod(0o600)
    status, _, errors = run(*FEW, "--users", str(users), "127.0.0.1:0")
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"forksocks: {users}:1: ")
    assert "secret" not in errors


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(bytes(range(256)))
    assert run("-c", str(path))[0] == 2
    assert run(b"\xff:1080", b"--users", b"\xff\xfe", b"--\xff")[0] == 2
    status, _, errors = run("--check", b"--users", b"\xff\xfe")
    assert status == 2
    assert "UTF-8" in errors


def test_check_says_ok(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.toml"
    path.write_text("[server]\nworkers = 3\n")
    assert cli.main(["-c", str(path), "--check", ":1080"]) == 0
    text = capfd.readouterr().out
    assert text == f"{path}: ok: 3 workers on 0.0.0.0:1080 [::]:1080, no users\n"
    assert cli.main(["--check"]) == 0
    assert capfd.readouterr().out.startswith("command line: ok: ")


RULES = """
[sets]
spare = { ports = [1] }
[[rule]]
name = "all"
action = "allow"
[[rule]]
name = "late"
ports = [25]
action = "deny"
[[test]]
given = { client = "127.0.0.1", to = "a.example:25" }
expect = "deny"
"""


def test_a_test_that_fails_prevents_a_start_and_check_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.toml"
    path.write_text(RULES)
    told = f"{path}:13: [test] expected deny, got allow all: anyone from 127.0.0.1 to a.example:25 (connect)"
    for how in (["--check"], ["127.0.0.1:0"]):
        assert cli.main(["-c", str(path), *how]) == 2
        assert told in capfd.readouterr().err


def test_check_warns_of_what_is_hardly_meant(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.toml"
    path.write_text(
        RULES.replace('"deny"\n[[test]]', '"allow"\n[[test]]').replace('expect = "deny"', 'expect = "allow"')
    )
    assert cli.main(["-c", str(path), "--check"]) == 0
    said = "".join(capfd.readouterr())
    assert 'warning: "late" can never match: "all" takes everything before it' in said
    assert "warning: is used by no rule" in said


def test_check_binds_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["--check", f"127.0.0.1:{taken.getsockname()[1]}"]) == 0
    assert "ok" in capfd.readouterr().out


def test_the_configuration_that_is_shown_is_the_one_in_effect(tmp_path: Path) -> None:
    status, text, errors = run(
        "--show-config", "-vv", "--allow-from", "10.0.0.0/8,@attached", ":1080", "unix:é.sock"
    )
    assert (status, errors) == (0, "")
    assert re.search(r'level = "debug" +# -vv\n', text)
    path = tmp_path / "shown.toml"
    path.write_text(text, encoding="utf-8")
    given = ["-vv", "--allow-from", "10.0.0.0/8,@attached", ":1080", "unix:é.sock"]
    assert load(path, {}).config == load(None, options.flags(options.parse(given))).config


def test_an_option_for_a_list_may_be_repeated() -> None:
    given = ["--allow-from", "@loopback", "--allow-from", "192.0.2.7,192.0.2.8"]
    config = load(None, options.flags(options.parse(given))).config
    assert [str(each) for each in config.access.allow_from or ()] == [
        "@loopback", "192.0.2.7/32", "192.0.2.8/32",
    ]  # fmt: skip


EXAMPLE = Path(__file__).parent.parent / "etc" / "forksocks.toml"


def test_the_example_rules_serve_when_they_are_uncommented(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, between, after = re.split(r"(?ms)^(#   \[sets\]$.*?)(?=^\[auth\]$)", EXAMPLE.read_text())
    rules = re.sub(r"(?m)^#   ", "", between)
    assert rules.count("\n[[") == 3
    path = tmp_path / "f.toml"
    path.write_text(before + rules + after)
    status = cli.main(["-c", str(path), "--check", "127.0.0.1:0"])
    assert (status, capfd.readouterr().err) == (0, "")


def test_options_after_addresses_are_options() -> None:
    found = options.parse(["127.0.0.1:1", "--workers", "3", "127.0.0.1:2", "-vvvv", "--open-proxy"])
    loaded = load(None, options.flags(found))
    assert "127.0.0.1:2" in effective(loaded)
    assert [str(loaded.origins[key]) for key in ("server.workers", "log.level")] == ["--workers", "-vvv"]


@pytest.mark.parametrize("option", ["--help", "--show-config", "--version", "--check"])
def test_a_reader_that_goes_away(option: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(option, stdout=writer) == (1, "", "")
    finally:
        os.close(writer)


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with (tmp_path / "out").open("rb") as read_only:
        told = run("--show-config", stdout=read_only)
    assert told == (1, "", "forksocks: standard output: Bad file descriptor\n")


def test_standard_descriptors_that_are_closed() -> None:
    script = f'{sys.executable} -m forksocks "$@" <&- >&- 2>&-'
    for arguments, status in ((["--show-config"], 0), (["--nonsense"], 2), (["--check"], 0)):
        done = subprocess.run(["sh", "-c", script, "sh", *arguments], timeout=30, check=False)
        assert done.returncode == status


def test_ctrl_c_before_the_start(tmp_path: Path) -> None:
    command = [*COMMAND, "-c", "/dev/stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        os.write(process.stdin.fileno(), b"#" * MORE_THAN_A_PIPE_HOLDS)  # waits until the command reads
        wait_until(lambda: processes.stat(process.pid)[0] == "S")  # and this until it waits for more
        process.send_signal(signal.SIGINT)
        assert (process.wait(timeout=30), process.stderr.read()) == (1, b"")


@pytest.mark.parametrize(
    "words", [["-m", "forksocks"], ["-c", CONSOLE.format("server")], ["-c", CONSOLE.format("control")]]
)
@pytest.mark.usefixtures("unmeasured")  # coverage, which starts before the program, would import them first
def test_ctrl_c_while_modules_are_imported(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tomllib.py", "argparse.py"):  # one that the server needs and one that both need
        (tmp_path / module).write_text(SLOW_MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    command = [sys.executable, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(timeout=30), process.stderr.read()) == (-signal.SIGINT, b"")


def test_a_pipe_is_a_configuration_where_it_is_read_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    status, _, errors = run("--check", "-c", str(fifo))
    assert (status, "it is a pipe or a terminal" in errors) == (2, True)
    command, text = [*COMMAND, "--check", "-c", "/dev/stdin"], b"[server]\nworkers = 7\n"
    done = subprocess.run(command, input=text, capture_output=True, timeout=30, check=False)
    assert b"7 workers" in done.stdout


def test_an_address_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, errors = run(*FEW, address)
    assert status == 1
    assert address in errors
    assert "in use" in errors


@contextlib.contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server whose stderr is a terminal; gives the process and our end of it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *FEW, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            os.close(ours)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def read_until(fd: int, end: str) -> str:
    text = ""
    while end not in text:
        text += os.read(fd, 4096).decode()
    return text


def test_a_first_start_on_a_terminal() -> None:
    with on_a_terminal("127.0.0.1:0") as (process, terminal):
        text = read_until(terminal, " started ")
        assert text.index("stop ") < text.index(" started "), "the log comes after what a person reads"
        found = re.search(r"listens +127\.0\.0\.1:(\d+)", text)
        assert found
        assert f"curl -x socks5h://127.0.0.1:{found[1]} " in text
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2) == b"\x05\x00"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_a_daemon_starts_serves_and_is_stopped_by_its_pid_file(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('[log]\nto = "file:log"\n[server]\ndaemon = true\npidfile = "pid"\n')
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    configured = ["-c", str(tmp_path / "f.toml"), *FEW]
    assert run(*configured, address) == (0, "", "")
    daemon = int((tmp_path / "pid").read_text())
    try:
        status, _, errors = run(*configured, "127.0.0.1:0")
        assert (status, f"held by process {daemon}" in errors) == (1, True)
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10) as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2) == b"\x05\x00"
    finally:
        os.kill(daemon, signal.SIGTERM)
        wait_until(lambda: not (tmp_path / "pid").exists())
    assert "stopped" in (tmp_path / "log").read_text()
