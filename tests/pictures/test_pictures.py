"""The pictures of docs/images: all are made by one command, all are shown somewhere, and none is large."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.pictures.make import IMAGES, LIST, listed
from tests.pictures.shots import ROOT, SHOTS

MOST_BYTES = 2_000_000
DOCUMENTS = [
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"))
    if path != IMAGES / LIST
]


def shown():
    """Pictures of that folder that documents show, by document."""
    for path in DOCUMENTS:
        for target in re.findall(r"!\[[^\]]*\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            file = (path.parent / target).resolve()
            if file.parent == IMAGES:
                yield path, file.name


def test_there_are_those_that_the_command_takes():
    assert {path.name for path in IMAGES.iterdir()} == {*SHOTS, LIST}
    assert (IMAGES / LIST).read_text(encoding="utf-8") == listed(), "run: make pictures"


def test_each_is_shown_by_a_document_and_each_that_is_shown_is_there():
    found = list(shown())
    assert {name for _, name in found} == SHOTS.keys()


def test_each_that_is_shown_is_described_for_who_does_not_see_it():
    for path in DOCUMENTS:
        for said in re.findall(r"!\[([^\]]*)\]\([^)]*images/", path.read_text(encoding="utf-8")):
            assert len(said.split()) >= 4, f"{path.relative_to(ROOT)}: {said!r}"


def test_they_are_small():
    sizes = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert sum(sizes.values()) < MOST_BYTES, sizes
    for path in IMAGES.glob("*.png"):
        assert Image.open(path).mode == "P", f"{path.name} has no palette"


@pytest.mark.real
def test_the_command_takes_all_of_them(tmp_path):
    command = [sys.executable, "-m", "tests.pictures.make", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in tmp_path.iterdir()} == {*SHOTS, LIST}
    for name in SHOTS:
        before, after = IMAGES / name, Path(tmp_path, name)
        if after.suffix == ".svg":
            assert after.read_bytes() == before.read_bytes(), f"{name}: run make pictures"
        else:
            with Image.open(before) as old, Image.open(after) as new:
                assert old.width == new.width, f"{name}: run make pictures"
                assert len(new.convert("RGB").getcolors(1 << 24)) > 4, f"{name} is empty"
