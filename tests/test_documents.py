"""Documents that cannot rot: the command reference is the command line's, links lead somewhere, examples run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_reference import PAGE, page
from wattshed.agent.__main__ import parser

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays out help differently in each Python")
def test_the_command_reference_is_the_command_lines():
    assert PAGE.read_text(encoding="utf-8") == page(parser()), "run: make docs"


def test_every_command_is_documented():
    text = PAGE.read_text(encoding="utf-8")
    for word in ("run", "record", "replay", "convert", "fleet estimate", "fleet scenario", "check", "bench", "top"):
        assert f"## `wattshed {word}`" in text


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_readmes_replay_example_gives_the_answer_that_it_shows(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    power, jobs, command, shown = re.search(
        r"```csv\n(.*?)```.*?```csv\n(.*?)```.*?```console\n\$ wattshed (.*?)\n(.*?)```", text, re.DOTALL
    ).groups()
    (tmp_path / "power.csv").write_text(power)
    (tmp_path / "jobs.csv").write_text(jobs)
    done = subprocess.run(
        [sys.executable, "-m", "wattshed", *command.split()],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT / "deploy/python"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "COLUMNS": "120",
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache/wattshed")),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == shown.split()
