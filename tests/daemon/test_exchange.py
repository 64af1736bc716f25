"""The law of the exchange: whenever the kernels change their form, the books are the same, to the last integer."""

import dataclasses
import json

import pytest

from tests.virtual import agent, simulated
from wattshed.exporters.formats import prometheus
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.web import api
from wattshed.kernels import load

SCRIPT = """
gpus = 2
cycle_s = 600
[[gpu]]
index = 1
architecture = "pascal"
[[job]]
name = "7"
gpus = [0, 1]
start_s = 2
end_s = 9
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
[[job]]
name = "8"
gpus = [0]
start_s = 4
load = [[0.7, 250.0, 40], [0.4, 90.0, 10]]
[[fault]]
kind = "error"
gpu = 1
at_s = 5
for_s = 2
value = 999
"""
WINDOWS = 10


@pytest.fixture(autouse=True)
def _form_of_the_others():
    before = load.form().name
    yield
    load.use(before)


def life(folder, forms):
    """A day in miniature, in a form for each window; returns what was saved and what was published after each."""
    folder.mkdir()
    (folder / "s.toml").write_text(SCRIPT)
    node, clock = simulated(folder, str(folder / "s.toml"))
    one, told = agent(node, clock, state=folder / "state", seconds=0), []
    for form in forms:
        if load.form().name != form:
            load.use(form)
        one.daemon.step()
        snapshot = dataclasses.replace(one.board.current(), calls={}, late_s=0.0, duty=0.0)
        page = Writer(openmetrics=False, on_fault=lambda *_: None).write(snapshot, prometheus.families(snapshot))
        told.append((page, json.dumps(api.document(snapshot, {}), default=str)))
    one.daemon.close()
    one.close()
    files = {path.name: path.read_bytes() for path in sorted((folder / "state").iterdir()) if path.suffix != ".lock"}
    return told, files, len(one.windows)


def other_form():
    """What plain Python is exchanged for, here: the best there is."""
    name = load.use("auto").name
    if name == "off":
        pytest.skip("nothing is compiled here")
    return name


def test_the_books_are_the_same_over_an_exchange_after_any_window(tmp_path):
    compiled = other_form()
    plain = life(tmp_path / "plain", ["off"] * WINDOWS)
    assert plain[0], "something was published"
    for k in range(WINDOWS):
        assert life(tmp_path / f"after-{k}", ["off"] * k + [compiled] * (WINDOWS - k)) == plain
    assert life(tmp_path / "turns", [compiled if k % 2 else "off" for k in range(WINDOWS)]) == plain
