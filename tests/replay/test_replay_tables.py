"""The tables of a replay fit the terminal: numbers and keys are whole, or their column is left out and named."""

import io
import math
import re

import pytest
from rich.cells import cell_len

from wattshed.agent.replay.report import Joules
from wattshed.agent.replay.tables import print_tables

KEY = "k8s:8a6f1c52-53a1-4a0c-9d0e-5f3b7f4f2b10/386136663163"


class Terminal(io.StringIO):
    """A text stream that says that it is a terminal."""

    def isatty(self):
        return True


def answer(key, flags=()):
    gpu = {
        "host": "node0", "gpu": 0, "model": "", "energy_j": Joules(262_067_000_000), "sigma_j": 10_805.0,
        "method": "power", "power_w": {"mean": 218.8, "max": 405.0}, "covered_s": 1198.0, "gap_s": 0.0, "flags": flags,
    }  # fmt: skip
    job = {
        "job": key, "hosts": ["node0"], "gpus": ["node0/0"], "energy_j": Joules(629_928_000_000), "sigma_j": 25_588.0,
        "static_j": Joules(0), "dynamic_j": Joules(629_928_000_000), "gpu_s": 1800.0, "mean_w": math.nan,
        "method": "alone", "work": None, "waiting_j": None, "user": "ada", "account": "physics",
    }  # fmt: skip
    sources = [{"path": "log.csv", "boundary": "GPU board"}]
    return {
        "sources": sources,
        "gpus": [gpu],
        "jobs": [job],
        "idle_j": Joules(0),
        "unattributed_j": Joules(1),
        "total_j": Joules(2),
    }


def printed(monkeypatch, width, tree):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    print_tables(tree, ["user", "account"], out)
    return out.getvalue()


@pytest.mark.parametrize("key", ["slurm:104", KEY])
@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
def test_keys_and_energies_are_whole_at_any_width(monkeypatch, width, key):
    text = printed(monkeypatch, width, answer(key))
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\u2026" not in text  # the ellipsis of what was cut
    assert [line for line in text.splitlines() if line.startswith(key[:9]) and "629,928.0" in line]
    assert len(key) > width - 20 or [line for line in text.splitlines() if key in line and "629,928.0" in line]
    assert "262,067.0" in text
    assert width < 80 or "physics" in text


def test_what_is_left_out_is_named_and_what_is_empty_is_not(monkeypatch):
    text = printed(monkeypatch, 80, answer(KEY, flags=("frozen_sensor",)))
    assert "frozen_sensor" in text, "what is wrong with a GPU stays"
    assert "model" not in text, "empty"
    (said,) = re.findall(r"Not shown in 80 columns: (.*?) \(--format csv has all\)\.", " ".join(text.split()))
    gone = said.split(", ")
    assert gone == sorted(gone)
    assert {"split", "hosts", "GPU s"} <= set(gone)
    heads = [line.split("  ") for line in text.splitlines() if "energy J" in line]
    assert not set(gone) & set(heads[1])


def test_a_pipe_gets_every_column(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    print_tables(answer(KEY), ["user", "account"], out)
    text = out.getvalue()
    assert "Not shown" not in text
    assert "\x1b" not in text
    assert all(name in text for name in ("gaps s", "split", "GPU s", "covered s", "hosts"))


def test_the_device_is_named_where_it_was_asked_for(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    tree = answer("slurm:104") | {"device": "cpu", "device_reason": "asked for"}
    for say in (False, True):
        out = io.StringIO()
        print_tables(tree, [], out, say_device=say)
        assert ("Summed on the CPU: asked for." in out.getvalue()) == say


def test_what_is_off_by_something_has_two_digits_and_a_single_rest_is_one(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    tree = answer("slurm:104")
    tree["jobs"] *= 65
    out = io.StringIO()
    print_tables(tree, [], out)
    text = " ".join(out.getvalue().split())
    assert "262,067.0 22,000 " in text
    assert "629,928.0 52,000 " in text
    assert "... and 1 more job (" in out.getvalue()
