"""What `forksocksctl init` writes serves as it says."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.system.client import NO_ACCEPTABLE, NO_AUTH, PASSWORD, Client
from tests.system.programs import objects, run
from tests.system.server import ROOT, running


def test_a_server_starts_with_it(tmp_path: Path) -> None:
    file = tmp_path / "forksocks.toml"
    words = (
        sys.executable,
        "-m",
        "forksocks.ctl",
        "init",
        "--lan",
        "10.0.0.0/8",
        "--user",
        "alice",
        "--stdin",
    )
    run(*words, str(file), text=b"secret\n", cwd=ROOT)
    text = file.read_text()
    assert '[":1080"]' in text
    file.write_text(text.replace('[":1080"]', '["127.0.0.1:0"]'))
    with running(config=file) as server:
        with Client(server.endpoint) as client:
            assert client.greet(NO_AUTH) == NO_ACCEPTABLE
        with Client(server.endpoint) as client:
            assert client.greet(PASSWORD) == PASSWORD
            assert client.authenticate(b"alice", b"secret") == 0
            assert client.request("mail.example.com", 25).code == 2
        assert server.wait_for("end", rule="no-mail")["user"] == "alice"
        assert objects(tmp_path, "show", "listeners")
