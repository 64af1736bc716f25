"""Where nothing can be read there is no answer of 0 J, but a line that says where, why, and what to do."""

import json

import pytest

from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.replay.nothing import flags_of_nothing
from wattshed.agent.window import Device
from wattshed.kernels.billing.layout import Diagnostics

HEAD = "timestamp,gpu,power_w\n"


def rows(*powers, gpu=0, step=1):
    return "".join(f"{1700000000 + step * i},{gpu},{power}\n" for i, power in enumerate(powers))


NOTHING = {
    "zeros": (HEAD + rows(0, 0, 0), ":2:3: power is 0 in 3 rows, and a powered board draws more"),
    "milliwatts": (HEAD + rows(250e3, 251e3), ":2:3: power is above what a GPU can draw in 2 rows: is it in mW?"),
    "one row": (HEAD + rows(100), ":2:3: it has one reading of each GPU, and energy needs two"),
    "one row of each": (HEAD + rows(100) + rows(90, gpu=1), ":2:3: it has one reading of each GPU"),
    "far apart": (HEAD + rows(100, 100, 100, step=7) , "no two readings of a GPU are close enough"),
    "no number": (HEAD + rows("[N/A]", "[N/A]"), ":2:3: no reading can be used: not_available in 2 rows"),
    "a stuck counter": ("timestamp,gpu,energy_mj\n" + rows(9e12, 9e12), ":2:3: its energy stands still"),
    "a wide table": ("timestamp,a_w,b_w\n1700000000,0,0\n1700000001,0,0\n", ":2:2: power is 0 in 4 rows"),
}  # fmt: skip
FLAGS = {"a wide table": ("--columns", "time=timestamp,power=*_w"), "far apart": ("--max-gap", "5")}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_log_of_nothing_is_refused(name, form, wattshed, tmp_path):
    text, said = NOTHING[name]
    log = tmp_path / "log.csv"
    log.write_text(text)
    code, out, err = wattshed("replay", log, "--format", form, *FLAGS.get(name, ()))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"wattshed: {log}")
    assert said in err


def test_a_dead_gpu_among_others_is_named(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(HEAD + rows(100, 100, 100) + rows(0, 0, 0, gpu=1) + rows(50, gpu=2))
    code, out, err = wattshed("replay", log, "--format", "json")
    assert code == 0
    assert [gpu["flags"] for gpu in json.loads(out)["gpus"]] == [[], ["no_reading"], ["no_interval"]]
    assert "no reading could be used of 1 GPU, whose energy is not known: 1\n" in err
    assert "no two readings are close enough of 1 GPU, whose energy is not known: 2\n" in err


def test_one_file_of_several_may_have_nothing(wattshed, tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(HEAD + rows(100, 100))
    bad.write_text(HEAD + rows(0, 0, gpu=1))
    code, out, err = wattshed("replay", good, bad, "--format", "json")
    assert (code, json.loads(out)["total_j"]) == (0, 100)
    assert "no reading could be used of 1 GPU" in err


@pytest.mark.parametrize(
    ("happened", "energy_hnj", "flags"),
    [
        (Diagnostics(), 0, ("no_reading",)),
        (Diagnostics(samples=1), 0, ("no_interval",)),
        (Diagnostics(samples=2, covered_us=5), 1, ()),
        (Diagnostics(counter_hnj=7), 7, ()),
    ],
)
def test_what_a_gpu_without_energy_is_flagged(happened, energy_hnj, flags):
    account = GpuAccount(Device("h", 0, ""))
    account.add(happened, energy_hnj, 0, 0, 0)
    assert flags_of_nothing(account) == flags
