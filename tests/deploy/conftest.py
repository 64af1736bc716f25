"""The packages, built once for all tests of this folder, and a clean Debian to install them on."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.deploy.namespaces import missing

SUITE = "bookworm"
INCLUDED = "systemd,python3.11,tzdata"


@pytest.fixture(scope="session")
def peer():
    """Skip where there can be no other Debian, or the packages are for another."""
    lacking = missing()
    if not lacking and not (shutil.which("debootstrap") and shutil.which("dpkg-deb")):
        lacking = "debootstrap is not installed"
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the package under test is for Debian 12, whose Python is 3.11")
    if lacking and os.environ.get("CI_REAL"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)


def kept(name, make):
    """Return a folder that is kept between runs, filled by the first with what ``make`` says to run."""
    folder = Path(tempfile.gettempdir()) / f"wattshed-tests-{os.geteuid()}-{name}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        done = subprocess.run(make(folder), capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        (folder / "made").touch()
    return folder


def minimal(name, included):
    """Return the root of a minimal Debian with some packages; it takes a minute, and nothing writes to it."""
    start = ["debootstrap", "--variant=minbase", f"--include={included}", SUITE]
    return kept(name, lambda folder: [*start, str(folder / "root")]) / "root"


@pytest.fixture(scope="session")
def debian(peer):
    """A clean minimal Debian."""
    return minimal(SUITE, INCLUDED)


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """The kernels compiled ahead, for every level of this machine: the dearest part of a package."""
    from deploy.packages import build
    from tests.compiled import packaged

    return packaged() or build.compiled(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel for any machine."""
    from deploy.packages import build

    return build.pure_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def tree(wheel, kernels, tmp_path_factory):
    """What deb and rpm install, as it lies under /."""
    from deploy.packages import staging

    folder = tmp_path_factory.mktemp("tree")
    staging.stage(folder, wheel, kernels)
    return folder


@pytest.fixture(scope="session")
def packages(tree, tmp_path_factory, peer):
    """The deb as version 1.0.0, the same program as 1.0.1, and an rpm, in a folder that everybody may read."""
    from deploy.packages import build

    folder = tmp_path_factory.mktemp("packages")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    for number in ("1.0.0", "1.0.1"):
        build.pack("deb", tree, folder, number)
    build.pack("rpm", tree, folder, "1.0.0")
    return folder
