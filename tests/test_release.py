"""The version is said in one place, and the recipe of a release names what exists."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
CHART = ROOT / "deploy/kubernetes/wattshed/Chart.yaml"


def test_the_chart_has_the_projects_version():
    chart = yaml.safe_load(CHART.read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION), "run: make docs"


def test_make_docs_writes_the_version_into_the_chart(tmp_path):
    """The recipe's own line, on a copy with another version."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (tmp_path / CHART.relative_to(ROOT).parent).mkdir(parents=True)
    copy = tmp_path / CHART.relative_to(ROOT)
    copy.write_text(CHART.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "wattshed"\nversion = "7.8.9rc1"\n', encoding="utf-8")
    (said,) = re.findall(r"^VERSION = .*$", makefile, re.MULTILINE)
    (line,) = (one for one in makefile.splitlines() if "Chart.yaml" in one)
    (tmp_path / "Makefile").write_text(f"{said}\nall:\n{line}\n", encoding="utf-8")
    subprocess.run(["make", "--silent", "-C", str(tmp_path), "all"], check=True)
    chart = yaml.safe_load(copy.read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == ("7.8.9rc1", "7.8.9rc1")
    assert chart["apiVersion"] == "v2"


def test_nothing_else_says_it():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    number = re.compile(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])")
    saying = set()
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        shipped = name.startswith(("deploy/", "docs/", ".github/", ".ci/", "examples/")) or "/" not in name
        text = (
            path.is_file() and not path.is_symlink() and path.suffix not in {".png", ".json", ".svg", ".gz", ".arrows"}
        )
        if shipped and text and number.search(path.read_text(encoding="utf-8")):
            saying.add(name)
    assert saying - {"CHANGELOG.md"} == {"pyproject.toml", str(CHART.relative_to(ROOT))}


def test_packages_take_it_from_the_wheel():
    packed = yaml.safe_load((ROOT / "deploy/packages/nfpm.yaml").read_text(encoding="utf-8"))
    assert packed["version"] == "${version}"


def test_the_changelog_begins_with_what_is_unreleased_and_ends_with_this_version():
    heads = re.findall(r"^## \[(.*?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    for number, date in heads[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", number)
        assert re.fullmatch(r" - \d{4}-\d\d-\d\d", date)
    assert len(heads) == 1 or heads[1][0] == VERSION


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md", "SECURITY.md", "docs/releasing.md"])
def test_every_make_target_that_is_named_exists(name):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^ +|`|&& |\) )make ([a-z]+)", text, re.MULTILINE)) <= set(targets)
