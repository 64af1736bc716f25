"""What ``make packages`` makes is what README and the recipe of a release promise."""

import fnmatch
import hashlib
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from helm_python import Chart

from deploy.packages import build

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"sdist": "source archive", "wheel": "wheels", "deb": "deb", "rpm": "rpm", "chart": "Helm chart"}


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    return build.chart(tmp_path_factory.mktemp("chart"))


def test_the_packed_chart_renders_as_the_folder_does(chart):
    with Chart.load_archive(chart.read_bytes()) as packed, Chart.load(build.CHART) as folder:
        values = {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}, "collector": {"enabled": True}}
        assert packed.render(values=values, name="demo") == folder.render(values=values, name="demo")
        assert packed.metadata == folder.metadata
    assert chart.name == f"wattshed-{yaml.safe_load((build.CHART / 'Chart.yaml').read_text())['version']}.tgz"


def test_it_has_plain_files_alone_and_the_same_bytes_each_time(chart, tmp_path):
    assert build.chart(tmp_path).read_bytes() == chart.read_bytes()
    with tarfile.open(chart) as archive:
        members = archive.getmembers()
    assert members[0].name == "wattshed/Chart.yaml"
    assert all(member.isreg() and (member.uid, member.mode) == (0, 0o644) for member in members)


def test_checksums_are_of_all_that_was_made(tmp_path):
    command = [
        sys.executable,
        "-m",
        "deploy.packages.build",
        "--out",
        str(tmp_path),
        "--stage",
        str(tmp_path / "stage"),
    ]
    subprocess.run([*command, "--format", "chart"], check=True, cwd=ROOT, capture_output=True)
    (chart,) = tmp_path.glob("*.tgz")
    assert (tmp_path / "SHA256SUMS").read_text() == f"{hashlib.sha256(chart.read_bytes()).hexdigest()}  {chart.name}\n"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], check=True, cwd=tmp_path)


def test_every_kind_is_made_by_make_packages_and_named_where_it_is_promised():
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^packages:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert "deploy.packages.build --out dist" in recipe
    assert "--format" not in recipe, "everything"
    assert set(NAMES) == set(build.FORMATS)
    (told,) = re.findall(r"^packages:.*## (.*)$", makefile, re.MULTILINE)
    releasing = (ROOT / "docs/releasing.md").read_text()
    for name in NAMES.values():
        assert name in told, name
        assert name in releasing, name
    assert "SHA256SUMS" in told


def test_every_file_that_a_page_names_in_dist_is_one_that_is_made():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    made = [
        f"wattshed_{version}_amd64.deb", f"wattshed-{version}-1.x86_64.rpm", f"wattshed-{version}.tgz", "SHA256SUMS",
        f"wattshed-{version}.tar.gz", f"wattshed-{version}-py3-none-any.whl",
    ]  # fmt: skip
    named = {
        pattern
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/tutorials").glob("*.md"))
        for pattern in re.findall(r"\bdist/([A-Za-z*][\w.*-]*)", page.read_text())
    }
    assert "wattshed_*.deb" in named
    assert [pattern for pattern in named if not fnmatch.filter(made, pattern)] == []
