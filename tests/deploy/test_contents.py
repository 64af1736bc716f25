"""What is in the packages: all that is promised, little else, and nothing that cannot be loaded."""

import os
import platform
import re
import shutil
import subprocess
import sys

import pytest

from deploy.packages import build, staging
from tests.depth import deep
from wattshed.kernels import cpu

pytestmark = deep

CONFFILE = "/etc/wattshed/config.toml"
LARGEST, LARGEST_INSTALLED = 62_000_000, 200_000_000
LINK = re.compile(r"\]\(([^()\s:#]+)(?:#[^()\s]*)?\)")


def test_the_packages_are_small(packages, tree):
    sizes = {path.name: path.stat().st_size for path in packages.iterdir() if path.suffix in {".deb", ".rpm"}}
    assert len(sizes) == 3
    assert max(sizes.values()) < LARGEST, sizes
    assert sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir()) < LARGEST_INSTALLED


def test_nothing_is_left_of_compilers_clouds_tests_and_pip(tree):
    site = tree / staging.SITE
    for pattern in ("numba*", "llvmlite*", "grpc*", "tzdata*", "pyarrow/*flight*", "pyarrow/*s3*", "**/tests", "bin",
                    "*.dist-info/RECORD", "**/*.pyi", "pyarrow/*.so.*.*"):  # fmt: skip
        assert list(site.glob(pattern)) == [], pattern
    for needed in ("textual", "h2", "shtab", "psycopg", "opentelemetry/exporter/otlp", "bcrypt"):
        assert (site / needed).is_dir(), needed
    licences = {path.name for path in site.glob("*.dist-info")}
    assert all((site / name / "METADATA").exists() for name in licences)
    assert not [path for path in site.rglob("*.py") if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))]


def test_every_library_is_whole_and_needs_no_newer_libc_than_is_said(tree):
    """Resolved to the last symbol: what was taken out is asked for by nobody, and what was stripped can be loaded."""
    program = (
        "import ctypes, os, sys\nimport numpy, pyarrow, psycopg\n"
        "for path in sys.argv[1:]: ctypes.CDLL(path, mode=os.RTLD_NOW)\nprint('whole')"
    )
    site = tree / staging.SITE
    libraries = [str(path) for path in sorted(site.rglob("*.so*"))]
    assert len(libraries) > 50
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *libraries],
        env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "whole\n", done.stderr
    symbols = subprocess.run(["nm", "-D", "-u", *libraries], capture_output=True, text=True, check=False).stdout
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"@GLIBC_([\d.]+)", symbols)}
    assert (2, 17) < max(versions) <= (2, staging.GLIBC)


def test_the_documents_are_all_there_and_every_link_in_them_leads_somewhere(tree):
    folder = tree / "usr/share/doc/wattshed"
    pages = {str(path.relative_to(folder)) for path in folder.rglob("*.md")}
    ours = {str(path.relative_to(staging.ROOT / "docs")) for path in (staging.ROOT / "docs").rglob("*.md")}
    assert ours | {"README.md", "CHANGELOG.md", "SECURITY.md"} <= pages
    dead = [
        f"{page}: {target}"
        for page in sorted(pages)
        for target in LINK.findall((folder / page).read_text())
        if not (folder / page).parent.joinpath(target).exists()
    ]
    assert dead == []
    assert "](accuracy.md)" in (folder / "README.md").read_text()
    for unit in (tree / "usr/lib/systemd/system").glob("*.service"):
        for place in re.findall(r"^Documentation=file://(\S+)$", unit.read_text(), re.MULTILINE):
            assert (tree / place[1:]).exists(), place


def test_the_deb_says_for_whom_it_is_and_goes_nowhere_else(packages, tmp_path):
    fields = ["dpkg-deb", "-f", str(packages / "wattshed_1.0.0_amd64.deb")]
    said = subprocess.run(fields, capture_output=True, text=True, check=True).stdout
    assert f"Depends: {staging.PYTHON}, libc6 (>= 2.{staging.GLIBC}), libstdc++6, tzdata\n" in said
    assert f"It needs /usr/bin/{staging.PYTHON}" in said
    # A system without any package stands for another distribution.
    database = tmp_path / "var/lib/dpkg"
    database.mkdir(parents=True)
    (database / "status").touch()
    command = ["dpkg", "--root", str(tmp_path), "--log", "/dev/null", "--force-not-root", "--install"]
    deb = str(packages / "wattshed_1.0.0_amd64.deb")
    done = subprocess.run([*command, deb], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"wattshed depends on {staging.PYTHON}" in done.stderr


@pytest.mark.real
def test_the_rpm_holds_the_same(packages):
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
    assert f"cn {CONFFILE}" in rpm("--qf", "[%{FILEFLAGS:fflags} %{FILENAMES}\\n]"), "noreplace"
    assert {staging.PYTHON, f"glibc >= 2.{staging.GLIBC}", "libstdc++", "tzdata"} <= set(rpm("-R").split("\n"))
    assert "systemd-sysusers wattshed.conf" in rpm("--scripts")


def test_the_wheel_of_this_machine_has_the_kernels_compiled(kernels, wheel, tmp_path):
    """It is made for two levels of processor, needs an old libc alone, and its library is what runs."""
    wheel = build.wheel_with(wheel, kernels, tmp_path)
    assert wheel.name.endswith(f"-py3-none-manylinux2014_{platform.machine()}.whl")
    site = tmp_path / "site"
    subprocess.run([*staging.PIP, "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True)
    inside = site / "wattshed/kernels/lib"
    assert sorted(path.name for path in inside.iterdir()) == [path.name for path in kernels]
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
    if set(build.LEVELS[platform.machine()]) & set(cpu.names()):
        assert (name, level) == ("so", cpu.level())
        assert str(inside) in reason
    else:  # a processor that is older than what packages are made for
        assert name != "so"
