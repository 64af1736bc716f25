"""Documents that cannot rot: the command reference is the command line's, what they show is what is printed."""

import argparse
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_reference import PAGE, page
from wattshed.agent.__main__ import parser

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays out help differently in each Python")
def test_the_command_reference_is_the_command_lines():
    assert PAGE.read_text(encoding="utf-8") == page(parser()), "run: make docs"


def test_every_help_text_fits_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    waiting, wide = [parser()], []
    while waiting:
        command = waiting.pop()
        wide += [line for line in command.format_help().splitlines() if len(line) > 80]
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting.extend(action.choices.values())
    assert not wide


def test_every_command_is_documented():
    text = PAGE.read_text(encoding="utf-8")
    for word in (
        "run",
        "record",
        "replay",
        "jobs",
        "job",
        "report",
        "collect",
        "convert",
        "fleet estimate",
        "fleet scenario",
        "check",
        "bench",
        "top",
    ):
        assert f"## `wattshed {word}`" in text


def tables(heading):
    """The tables below a heading of docs/architecture.md, up to the next one: rows of cells, without the head."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    below = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)[1]
    for block in re.findall(r"(?:^\|.*\n)+", below, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        yield rows[2:]


def defined(path):
    """Names of functions, classes and methods (with their class) in a file."""
    names = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def test_a_readings_forms_are_few_and_made_where_it_is_said():
    reading, usage = tables("Its forms")
    assert (len(reading), len(usage)) == (9, 3), "see docs/decisions/0987"
    everywhere = set()
    for package in ("agent", "kernels", "exporters"):
        for path in (ROOT / package).rglob("*.py"):
            everywhere |= defined(path.relative_to(ROOT))
    for number, (place, form, made_by, file) in enumerate([*reading, *usage]):
        assert int(place) == number % 9 + 1
        (function,), (path,) = re.findall(r"`(.+?)`", made_by), re.findall(r"`(.+?)`", file)
        assert function in defined(path)
        assert set(re.findall(r"`(\w+)`", form)) <= everywhere, form


def test_where_is_what_one_looks_for():
    (rows,) = tables("Where is ...?")
    assert len(rows) >= 10
    for question, answer in rows:
        paths = re.findall(r"`(.+?)`", answer)
        assert paths, question
        assert [path for path in paths if not (ROOT / path).is_file()] == [], question


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:agent|kernels|exporters|tests|deploy|docs)/[\w./-]*)`", (ROOT / page).read_text("utf-8"))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def printed(command, cwd, home):
    """What a command of ours prints."""
    done = subprocess.run(
        [sys.executable, "-m", "wattshed", *command.split()],
        cwd=cwd,
        env={
            "PYTHONPATH": str(ROOT / "deploy/python"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache/wattshed")),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_readmes_replay_example_gives_the_answer_that_it_shows(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    power, jobs, command, shown = re.search(
        r"```csv\n(.*?)```.*?```csv\n(.*?)```.*?```console\n\$ wattshed (.*?)\n(.*?)```", text, re.DOTALL
    ).groups()
    (tmp_path / "power.csv").write_text(power)
    (tmp_path / "jobs.csv").write_text(jobs)
    assert printed(command, tmp_path, tmp_path) == shown.split()


def test_the_recording_of_a_card_replays_to_what_is_shown(tmp_path):
    text = (ROOT / "docs/replay.md").read_text(encoding="utf-8")
    command, shown = re.search(
        r"```console\n\$ wattshed (replay examples/recordings/.*?)\n(.*?)```", text, re.DOTALL
    ).groups()
    assert printed(command, ROOT, tmp_path) == shown.split()
