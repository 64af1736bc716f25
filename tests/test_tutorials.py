"""Each tutorial does what it says, from its first command to its last (see tests.tutorials)."""

import re
from pathlib import Path

import pytest
import trustme

from tests.tutorials import PAGES, ROOT, differing, is_shown, matches, run, steps
from wattshed.agent.collect.config import read_settings
from wattshed.agent.config.loading import load


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_shows_what_happens(page):
    text = page.read_text(encoding="utf-8")
    for step, printed in zip(steps(text), run(text), strict=True):
        assert is_shown(step, printed), f"{step.script}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_says_how_to_go_on_and_what_can_go_wrong(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^## What can go wrong$", text, re.MULTILINE)
    assert re.search(r"^## Next$", text, re.MULTILINE)
    assert len(steps(text)) >= 4
    assert 40 < len(text.splitlines()) < 220  # five to ten minutes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_messages_that_a_tutorial_explains_are_said(page):
    """What stands there in italics is what wattshed says."""
    below = page.read_text(encoding="utf-8").partition("## What can go wrong")[2].partition("\n## ")[0]
    source = " ".join(
        path.read_text(encoding="utf-8") for room in ("agent", "exporters") for path in (ROOT / room).rglob("*.py")
    )
    assert [said for said in re.findall(r"(?<!\*)\*(\w[^*\n]*)\*", below) if said not in source] == []


def test_an_answer_with_numbers_that_differ_is_compared_by_its_words():
    assert matches(differing("slurm:4001  6.4 kWh ███"), differing("slurm:4002 600 Wh ▁"))
    assert not matches(differing("slurm:4001 ada"), differing("slurm:4001 bob"))
    assert matches(differing("power 70 W"), differing("power 1,060 W\n  ▄████▄ 0 to 1,304 W, 01:00:00 each"))
    assert matches(["a", "...", "z"], ["a", "b", "c", "z"])
    assert not matches(["a", "...", "z"], ["a", "b"])


TITLED = re.compile(r'^```toml title="(.*?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CONFIGURATIONS = [found for page in PAGES for found in TITLED.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("title", "text"), CONFIGURATIONS, ids=[title for title, _ in CONFIGURATIONS])
def test_a_configuration_that_a_tutorial_shows_is_taken(title, text, tmp_path):
    path = tmp_path / Path(title).name
    path.write_text(text)
    trustme.CA().cert_pem.write_to_path(tmp_path / "site-ca.pem")
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    if path.name == "collect.toml":
        assert read_settings(path).targets
    else:
        assert load(path, {"HOME": "/"}).config.jobs.mapping_dir == "/run/wattshed-jobs"
