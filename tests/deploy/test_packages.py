"""The packages on a clean Debian: install, start, upgrade over a changed configuration, remove, purge."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.deploy.namespaces import Machine, missing
from wattshed.kernels import cpu

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
INCLUDED = "systemd,python3.11"
CONFFILE = "/etc/wattshed/config.toml"


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_packages", ROOT / "deploy/packages/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def _peer():
    lacking = missing()
    if not lacking and not (shutil.which("debootstrap") and shutil.which("dpkg-deb")):
        lacking = "debootstrap is not installed"
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the package under test is for Debian 12, whose Python is 3.11")
    if lacking and os.environ.get("CI_REAL"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)


@pytest.fixture(scope="module")
def debian(_peer):
    """A clean minimal Debian; kept between runs, since it takes a minute and nothing writes to it."""
    kept = Path(tempfile.gettempdir()) / f"wattshed-tests-{os.geteuid()}-{SUITE}"
    if not (kept / "made").exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(mode=0o755)
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(kept / "root")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout[-2000:]
        (kept / "made").touch()
    return kept / "root"


@pytest.fixture(scope="module")
def packages(builder, tmp_path_factory, _peer):
    """Two versions of the deb, and an rpm, in a folder; the tree that they hold beside it."""
    folder = tmp_path_factory.mktemp("packages")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    libraries, wheel = builder.compiled(folder / "stage/kernels"), builder.pure_wheel(folder / "stage/wheel")
    builder.stage(folder / "stage/tree", wheel, libraries)
    (folder / "in").mkdir()
    for number in ("1.0.0", "1.0.1"):
        builder.pack("deb", folder / "stage/tree", folder / "in", number)
    builder.pack("rpm", folder / "stage/tree", folder / "in", "1.0.0")
    return folder / "in"


def page(machine):
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9961/metrics', timeout=5).read().decode())"
    return machine.try_("python3.11", "-c", code).stdout.split("\n")


def scraped(machine):
    found = [line.rsplit(" ", 1) for line in page(machine) if line.startswith("wattshed_gpu_energy_joules_total{")]
    return {series: float(value) for series, value in found}


@pytest.mark.real
@pytest.mark.timeout(600)
def test_install_start_upgrade_remove_purge(debian, packages):
    with Machine(packages, root=debian) as machine:
        machine.run("dpkg", "-i", "/srv/in/wattshed_1.0.0_amd64.deb")
        machine.wait(lambda: machine.show("ActiveState")["ActiveState"] == "active", 120)
        assert machine.show("UnitFileState") == {"UnitFileState": "enabled"}
        # As it is shipped, a machine without a driver is metered by nobody, and says so.
        assert "wattshed_up 0" in page(machine)
        assert scraped(machine) == {}
        assert machine.show("StatusText")["StatusText"].startswith("waiting for the NVIDIA driver: no NVML library")
        assert machine.run("wattshed", "--version").split()[0] == "wattshed"
        assert machine.run("wattshed", "config", "--check", CONFFILE) == f"{CONFFILE}: good\n"
        assert machine.run("stat", "-c", "%U:%G %a", "/etc/wattshed") == "root:root 755\n"
        assert "wattshed-web" in machine.run("cat", "/etc/group")
        for script in ("prolog.sh", "epilog.sh", "task-epilog.sh"):
            assert machine.run("env", "-u", "SLURM_JOB_ID", f"/usr/lib/wattshed/{script}") == "", "no job, no word"

        machine.run(
            "sh", "-c", f"printf 'meter = \"simulated\"\\n' | cat - {CONFFILE} > /tmp/new && cp /tmp/new {CONFFILE}"
        )
        changed = machine.run("cat", CONFFILE)
        machine.run("systemctl", "restart", "wattshed.service")
        machine.wait(lambda: any(value > 0 for value in scraped(machine).values()), 120)
        before, pid = scraped(machine), machine.show("MainPID")
        machine.run("dpkg", "-i", "/srv/in/wattshed_1.0.1_amd64.deb")
        machine.wait(
            lambda: machine.show("MainPID") != pid and machine.show("ActiveState")["ActiveState"] == "active", 120
        )
        assert machine.run("cat", CONFFILE) == changed, "a changed configuration is the administrator's"
        after = scraped(machine)
        assert before
        assert all(after[series] >= before[series] for series in before), "totals go on over an upgrade"
        assert "1.0.1" in machine.run("dpkg-query", "-W", "-f", "${Version}", "wattshed")

        machine.run("dpkg", "--remove", "wattshed")
        assert machine.try_("systemctl", "is-active", "wattshed").stdout.strip() in {"inactive", "failed"}
        left = machine.try_("sh", "-c", "ls -d /usr/lib/wattshed /usr/bin/wattshed /usr/lib/systemd/system/wattshed*")
        assert left.stdout == ""
        assert machine.run("cat", CONFFILE) == changed
        assert machine.run("ls", "/var/lib/private/wattshed") != "", "the bill outlives the program"

        machine.run("dpkg", "--purge", "wattshed")
        left = machine.try_(
            "find", "/", "-xdev", "-name", "*wattshed*", "-not", "-path", "/srv/*", "-not", "-path", "/proc/*"
        )
        known = ("/var/lib/dpkg/", "/var/log/", "/etc/group", "/tmp/", "/run/")
        assert [p for p in left.stdout.split() if not p.startswith(known)] == []


@pytest.mark.real
def test_the_rpm_holds_the_same(packages, builder):
    if not shutil.which("rpm"):
        if os.environ.get("CI_REAL"):
            pytest.fail("rpm is not installed")
        pytest.skip("rpm is not installed")

    def rpm(*query):
        command = ["rpm", "-q", *query, "-p", str(packages / "wattshed-1.0.0-1.x86_64.rpm")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    files = set(rpm("-l").split("\n"))
    for needed in (
        "/usr/bin/wattshed",
        "/usr/lib/systemd/system/wattshed.service",
        "/usr/lib/sysusers.d/wattshed.conf",
        "/usr/lib/wattshed/wattshed-jobs",
        "/usr/lib/wattshed/prolog.sh",
        CONFFILE,
    ):
        assert needed in files
    assert rpm("-c").strip() == CONFFILE
    assert (
        rpm("--qf", "%{FILEFLAGS:fflags} %{FILENAMES}\\n").count("cn ") >= 1
        or "n" in rpm("--qf", "[%{FILEFLAGS:fflags} %{FILENAMES}\\n]").split(CONFFILE)[0].split("\n")[-1]
    ), "noreplace"
    assert builder.PYTHON in rpm("-R")
    assert "systemd-sysusers wattshed.conf" in rpm("--scripts")


def test_the_wheel_of_this_machine_has_the_kernels_compiled(builder, tmp_path):
    """It is made for two levels of processor, needs an old libc alone, and its library is what runs."""
    libraries = builder.compiled(tmp_path / "kernels")
    wheel = builder.wheel_with(builder.pure_wheel(tmp_path / "pure"), libraries, tmp_path)
    assert wheel.name.endswith(f"-py3-none-manylinux2014_{platform.machine()}.whl")
    site = tmp_path / "site"
    subprocess.run([*builder.PIP, "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True)
    inside = site / "wattshed/kernels/lib"
    assert sorted(path.name for path in inside.iterdir()) == [path.name for path in libraries]
    for library in inside.glob("*.so"):
        symbols = subprocess.run(["nm", "-D", "-u", str(library)], capture_output=True, text=True, check=True).stdout
        versions = [tuple(map(int, found.split("."))) for found in re.findall(r"@GLIBC_([\d.]+)", symbols)]
        assert all(version <= (2, 17) for version in versions), symbols
    program = "from wattshed.kernels import load; form = load.form(); print(form.name, form.cpu, form.reason)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "NUMBA_CACHE_DIR": str(tmp_path / "none")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    name, level, reason = told.stdout.split(maxsplit=2)
    if set(builder.LEVELS[platform.machine()]) & set(cpu.names()):
        assert (name, level) == ("so", cpu.level())
        assert str(inside) in reason
    else:  # a processor that is older than what packages are made for
        assert name != "so"
