"""What a release is made of, made once; the wheel is installed as pipx does it, in a fresh environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import forksocks
from tests.system.programs import run
from tests.system.server import ROOT, Server, environment

RELEASE = ROOT / "packaging" / "release"
NAME = f"forksocks-{forksocks.__version__}"
PAGES = {"forksocks.8", "forksocksctl.8", "forksocks.toml.5", "forksocks-users.5", "forksocks-conformance.7"}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("release")
    # Without Debian's tools: packaging/build-deb has tests of its own.
    path = os.pathsep.join([str(Path(sys.executable).parent), str(tools(tmp_path_factory.mktemp("bin")))])
    subprocess.run(
        [sys.executable, str(RELEASE), "--trial", str(made)],
        env=environment() | {"PATH": path}, check=True, capture_output=True,
    )  # fmt: skip
    return made


def tools(folder: Path) -> Path:
    """What the release needs beside Python, and nothing else."""
    for name in ("git", "mandoc"):
        found = next(Path(where, name) for where in ("/usr/bin", "/bin") if Path(where, name).exists())
        (folder / name).symlink_to(found)
    return folder


def test_all_is_there_and_summed(release: Path) -> None:
    lines = [line.split("  ") for line in (release / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert set(sums) == {
        f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl", f"{NAME}-manual.tar.gz", f"{NAME}.cdx.json"
    }  # fmt: skip
    for name, digest in sums.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest


def test_the_wheel_holds_data_and_the_type_marker(release: Path) -> None:
    with zipfile.ZipFile(release / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    assert "forksocks/py.typed" in names
    data = f"{NAME}.data/data/share"
    assert f"{data}/forksocks/forksocks.toml" in names
    assert {f"{data}/man/man{page[-1]}/{page}" for page in PAGES} <= names


def test_the_manual_is_html_that_refers_to_itself(release: Path) -> None:
    with tarfile.open(release / f"{NAME}-manual.tar.gz") as archive:
        pages = {Path(entry.name).name: archive.extractfile(entry) for entry in archive}
        texts = {name: file.read().decode() for name, file in pages.items() if file}
    assert set(texts) == {f"{page}.html" for page in PAGES}
    assert 'href="forksocks.toml.5.html"' in texts["forksocks.8.html"]


def test_the_bill_of_materials_names_every_dependency(release: Path) -> None:
    bill = json.loads((release / f"{NAME}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == forksocks.__version__
    named = {each["name"] for each in bill["components"]}
    project = (ROOT / "pyproject.toml").read_text()
    direct = re.findall(
        r'"([a-z0-9-]+)>=', re.findall(r"^dependencies = \[(.*)\]$", project, re.MULTILINE)[0]
    )
    assert direct
    assert set(direct) < named
    assert all(each["licenses"][0]["license"]["id"] and "@" in each["purl"] for each in bill["components"])


def test_it_installs_into_a_fresh_environment(release: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    wheel = release / f"{NAME}-py3-none-any.whl"
    run(str(home / "bin" / "python"), "-m", "pip", "install", "-q", str(wheel))
    for words in (["bin/forksocks"], ["bin/forksocksctl"], ["bin/python", "-m", "forksocks"]):
        said = run(str(home / words[0]), *words[1:], "--version", cwd=tmp_path).out.decode()
        assert forksocks.__version__ in said
    assert (home / "share" / "man" / "man8" / "forksocks.8").exists()
    default = home / "share" / "forksocks" / "forksocks.toml"
    run(str(home / "bin" / "forksocks"), "-c", str(default), "--check", cwd=tmp_path)
    with Server([str(home / "bin" / "forksocks"), "-v", "127.0.0.1:0"]) as server:
        server.wait_until_started()
        server.stop(signal.SIGTERM)


def test_a_release_must_agree_with_its_changelogs(tmp_path: Path) -> None:
    """As long as a version is not in them, there is none."""
    said = subprocess.run(
        [sys.executable, str(RELEASE), str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if f"## [{forksocks.__version__}] - " not in (ROOT / "CHANGELOG.md").read_text():
        assert said.returncode == 1
        assert "CHANGELOG.md does not say version" in said.stderr
        assert not any(tmp_path.iterdir())


def test_a_container_is_confined_by_its_file() -> None:
    """What the file itself says, and its healthcheck; packaging/test-container runs the image."""
    text = (ROOT / "packaging" / "Containerfile").read_text()
    assert re.search(r"^USER 65534:65534$", text, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", text, re.MULTILINE)
    check = json.loads(re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)[0])
    with Server([sys.executable, "-m", "forksocks", "127.0.0.1:0"]) as server:
        server.wait_until_started()
        words = [sys.executable, *(word.replace("1080", str(server.port)) for word in check[1:])]
        assert subprocess.run(words, check=False).returncode == 0
        server.stop()
        assert subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode != 0
