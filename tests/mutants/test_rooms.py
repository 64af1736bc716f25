"""The list of rooms is true to the tree: a folder that moved would be judged by nothing, or by the wrong tests."""

import tomllib
from pathlib import Path

import pytest

from tests.mutants.mutations import mutations

ROOT = Path(__file__).resolve().parents[2]
ROOMS = tomllib.loads((ROOT / "tests/mutants/rooms.toml").read_text())


def files(folder, pattern):
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_there_are_rooms():
    assert {"accounts", "meters", "jobs", "kernels", "traces", "fleet", "exporters"} <= set(ROOMS)


@pytest.mark.parametrize("label", ROOMS)
def test_every_path_of_a_room_exists(label):
    room = ROOMS[label]
    assert set(room) == {"sources", "tests", "slow"}
    assert room["sources"]
    assert room["tests"]
    missing = [path for path in room["sources"] + room["tests"] + room["slow"] if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("label", ROOMS)
def test_a_room_is_judged_by_its_own_tests(label):
    """The folder of the same name, and what is slow is part of it."""
    room = ROOMS[label]
    assert [Path(path).name for path in room["sources"]] == [label]
    assert f"tests/{label}" in room["tests"]
    assert all(files(path, "*.py") for path in room["sources"])
    judging = set().union(*({path} if path.endswith(".py") else files(path, "test_*.py") for path in room["tests"]))
    assert set(room["slow"]) < judging, "left out is only what would judge otherwise, and something is left"


def test_no_room_lies_in_another():
    sources = [path for room in ROOMS.values() for path in room["sources"]]
    assert len(sources) == len(set(sources))
    assert not [(a, b) for a in sources for b in sources if a.startswith(f"{b}/")]


EQUIVALENT = tomllib.loads((ROOT / "tests/mutants/equivalent.toml").read_text())["mutant"]


@pytest.mark.parametrize("one", EQUIVALENT, ids=lambda one: one["line"][:40])
def test_what_no_test_can_see_is_a_mutant_of_a_line_that_is_there_with_a_reason(one):
    source = (ROOT / one["file"]).read_bytes()
    assert len(one["reason"]) > 20
    places = [n for n, line in enumerate(source.decode().splitlines(), 1) if line.strip() == one["line"]]
    made = [m.apply(source).decode().splitlines() for m in mutations(source) if m.line in places]
    assert any(lines[n - 1].strip() == one["to"] for lines in made for n in places)
