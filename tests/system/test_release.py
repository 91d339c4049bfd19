"""What a release is made of, made once; pipx installs its wheel, and FreeBSD's port stages its sdist."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
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
        f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl", f"{NAME}-manual.tar.gz", f"{NAME}-port.tar.gz",
        f"{NAME}.cdx.json",
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


def test_pipx_installs_it(release: Path, tmp_path: Path) -> None:
    """`pipx install forksocks`, but for where it comes from: commands and manual where a user has them."""
    folders = {f"PIPX_{name}": str(tmp_path / name) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    pipx = [sys.executable, "-m", "pipx", "install", "--skip-maintenance", "--python", sys.executable]
    run(*pipx, str(release / f"{NAME}-py3-none-any.whl"), extra=folders)
    commands, home = tmp_path / "BIN_DIR", tmp_path / "HOME" / "venvs" / "forksocks"
    assert {path.name for path in commands.iterdir()} == {"forksocks", "forksocksctl"}
    python = [str(home / "bin" / "python"), "-m", "forksocks"]
    for words in ([str(commands / "forksocks")], [str(commands / "forksocksctl")], python):
        assert forksocks.__version__ in run(*words, "--version", cwd=tmp_path).out.decode()
    assert {path.name for path in (tmp_path / "MAN_DIR").rglob("*.[0-9]")} == PAGES
    default = home / "share" / "forksocks" / "forksocks.toml"
    run(str(commands / "forksocks"), "-c", str(default), "--check", cwd=tmp_path)
    with Server([str(commands / "forksocks"), "-v", "127.0.0.1:0"]) as server:
        server.wait_until_started()
        server.stop(signal.SIGTERM)


def test_the_port_stages_what_its_list_says(release: Path, tmp_path: Path) -> None:
    """`make stage` of the port that goes with the sdist, with bsd.port.mk emulated (freebsd/bsd.port.mk)."""
    with tarfile.open(release / f"{NAME}-port.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    port = tmp_path / "forksocks"
    emulation = str(Path(__file__).parent / "freebsd")
    words = (
        "bmake",
        "-r",
        "-m",
        emulation,
        "-C",
        str(port),
        f"DISTDIR={release}",
        f"PYTHON_CMD={sys.executable}",
    )
    run(*words, "stage")
    stage = port / "work" / "stage"
    staged = {str(path.relative_to(stage)) for path in stage.rglob("*") if not path.is_dir()}
    (record,) = stage.rglob("forksocks-*.dist-info/RECORD")  # what USE_PYTHON=autoplist lists by itself
    base = record.parents[1]
    for line in record.read_text().splitlines():
        staged.remove(os.path.relpath(base / line.split(",")[0], stage))
    staged.remove("usr/local/etc/rc.d/forksocks")  # and USE_RC_SUBR
    listed = (port / "work" / ".PLIST").read_text().splitlines()
    folders = {line.split()[-1] for line in listed if line.startswith("@dir")}
    assert staged == {f"usr/local/{line.split()[-1]}" for line in listed if not line.startswith("@dir")}
    assert folders == {"/var/log/forksocks"}
    assert (stage / "var" / "log" / "forksocks").is_dir()
    for path in (port / "work").glob("*"):
        assert path.is_dir() or "%%" not in path.read_text(), path


@pytest.fixture
def releasable(tmp_path: Path) -> Path:
    """A copy of the tree, as it is when it is to become a release."""
    tree = tmp_path / "tree"
    for name in ("CHANGELOG.md", "forksocks/__init__.py", "packaging"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    log = tree / "CHANGELOG.md"
    title = f"## [{forksocks.__version__}] - 2026-01-01"
    log.write_text(log.read_text().replace("## [Unreleased]", title))
    for words in ("init", "add .", "-c user.name=A -c user.email=a@example.com commit -m release"):
        run("git", "-C", str(tree), *words.split())
    return tree


def agreement(tree: Path, *words: str, path: str = "") -> tuple[int, str]:
    """How packaging/release there ends, and what it says."""
    said = subprocess.run(
        [sys.executable, str(tree / "packaging" / "release"), *words],
        env=environment() | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.returncode, said.stderr


@pytest.mark.parametrize("name", ["CHANGELOG.md", "packaging/debian/changelog", "packaging/freebsd/Makefile"])
def test_a_release_must_agree_with_its_changelogs(releasable: Path, name: str) -> None:
    """As long as the version is not in each of them, there is none."""
    assert agreement(releasable, "--check") == (0, "")
    file = releasable / name
    file.write_text(file.read_text().replace(forksocks.__version__, "0.0.1"))
    run(
        "git",
        "-C",
        str(releasable),
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.com",
        "commit",
        "-am",
        "x",
    )
    wrong = f"release: {name} does not say version {forksocks.__version__} at its place\n"
    assert agreement(releasable, "--check") == (1, wrong)
    assert agreement(releasable, str(releasable / "dist")) == (1, wrong)
    assert not (releasable / "dist").exists()


def test_a_release_is_made_of_what_is_committed(releasable: Path) -> None:
    (releasable / "forgotten").touch()
    assert agreement(releasable, "--check") == (1, "release: there are changes that are not committed\n")


@pytest.mark.parametrize("status", [0, 1])
def test_a_release_is_of_packages_without_known_holes(releasable: Path, tmp_path: Path, status: int) -> None:
    """pip-audit is played, whose own answer comes from pypi.org; what it could not look at is not clean."""
    text = f"import sys\nprint(open(sys.argv[-1]).read(), *sys.argv[1:-1])\nsys.exit({status})\n"
    (tmp_path / "pip_audit.py").write_text(text)
    found, said = agreement(releasable, "--audit", path=str(tmp_path))
    assert found == status
    assert ("release: pip-audit: argon2-cffi==" in said) == (status == 1)
    assert ("--strict" in said) == (status == 1)
    if status:
        assert agreement(releasable, str(releasable / "dist"), path=str(tmp_path)) == (1, said)
        assert not (releasable / "dist").exists()


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
