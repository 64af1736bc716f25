"""Files that agents of former versions wrote, kept as they are: this one goes on from them, to the last joule."""

import json
import re
import zlib
from dataclasses import fields
from pathlib import Path

import pytest

from tests.accounts.made import S, device, window
from tests.accounts.old_state import as_version_4
from wattshed.agent.accounts import former_versions
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.ledger import Line
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.whole_state import VERSION
from wattshed.agent.window import Event
from wattshed.kernels.billing.layout import Diagnostics, GpuState, Suspect

FILES = Path(__file__).parent / "state_files"
T0 = 1_700_000_000 * S
DEVICES = (device(0), device(1, capabilities={"gpu_scope": "the module's", "average": "", "instant": ""}))
SAVED = {"a": 1885272222225, "b": 1762107777775, "c": 3000000000000}
# What the agent of version 3 came to, which wrote these files and went on from them. Who left in the hole, and what
# waited for its energy, versions 1 and 2 did not keep.
WENT_ON = {
    1: {"a": 5324872222225, "b": 1762107777775, "c": 5500000000000},
    2: {"a": 5324872222225, "b": 1762107777775, "c": 5500000000000},
    3: {"a": 29489938891126, "b": 1957441108874, "c": 5500000000000},
}


def restored(tmp_path, version):
    (tmp_path / "state.json").write_bytes((FILES / f"version_{version}.json").read_bytes())
    accounts = Accounts(live=True)
    found = StateFile(tmp_path, "h", "boot").restore(accounts, Calibrator())
    assert (found.found, found.same_boot, found.problems) == (True, True, ())
    return accounts


def bills(accounts):
    gpus = {key.gpu: account.energy_hnj for key, account in accounts.gpus.items()}
    return gpus, {str(key): job.energy_hnj for key, job in accounts.ledger.jobs.items()}


def go_on(accounts):
    """Book six seconds more, from two seconds after the agent that wrote the file."""
    for n in range(70, 76):
        t = T0 + n * S
        usage = [(0, "a", t, t + S, 400_000, -1, 1), (1, "c", t, t + S, -1, 1_000_000, 1)]
        first = [(t + 1000, 200_000, 300_000 * 6 + 200_000 * (n - 5)), (t + 600_000, 200_000, -1)]
        events = (Event(t, "restart", detail="same-boot"),) * (n == 70)
        rows = [first, [(t + 1000, 250_000, 500_000 * (n + 1))]]
        accounts.add(window(t, t + S, rows, usage, devices=DEVICES, host="h", events=events))
    accounts.finish()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_books_of_a_former_version_go_on(tmp_path, version):
    accounts = restored(tmp_path, version)
    assert bills(accounts) == ({"GPU-0": 3647380000000, "GPU-1": 3000000000000}, SAVED)
    counted, by_power = (account.totals for account in accounts.gpus.values())
    assert (counted.samples, counted.gap_us, counted.gaps, counted.by_counter_hnj) == (16, 60601000, 1, 27800000000000)
    assert by_power.compared_us == 0
    state = accounts.books_of("h")[0].state
    assert (state.counter_mj, state.suspect_mj, state.suspect) == (14200000, 5, Suspect.DIP)
    assert (state.open_hnj, state.booked_us) == (239600000000, T0 + 67001000)
    (module,) = [account.module for account in accounts.gpus.values() if account.module]
    assert (module.energy_hnj, int(module.state["counter_mj"][0])) == (67000000000000, 34000000)
    go_on(accounts)
    assert bills(accounts) == ({"GPU-0": 31486980000000, "GPU-1": 5500000000000}, WENT_ON[version])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_saved_again_it_is_of_this_version_and_says_the_same(tmp_path, version):
    once = restored(tmp_path, version)
    StateFile(tmp_path, "h", "boot").save(once, Calibrator(), T0 + 68 * S)
    assert (tmp_path / "state.json").read_bytes().startswith(f"wattshed-state {VERSION} ".encode())
    again = Accounts(live=True)
    assert StateFile(tmp_path, "h", "boot").restore(again, Calibrator()).problems == ()
    assert bills(again) == bills(once)
    for accounts in (once, again):
        go_on(accounts)
    assert bills(again) == bills(once)


def test_a_file_of_version_4_goes_on_as_if_it_were_of_this_one(tmp_path):
    once = restored(tmp_path, 3)
    StateFile(tmp_path, "h", "boot").save(once, Calibrator(), T0 + 68 * S)
    as_version_4(tmp_path / "state.json")
    again = Accounts(live=True)
    assert StateFile(tmp_path, "h", "boot").restore(again, Calibrator()).problems == ()
    for accounts in (once, again):
        go_on(accounts)
    assert bills(again) == bills(once)


def test_every_number_has_its_name(tmp_path):
    """A number without a name can be read for another one: there is none in the file."""
    once = restored(tmp_path, 3)
    StateFile(tmp_path, "h", "boot").save(once, Calibrator(), T0 + 68 * S)
    state = json.loads((tmp_path / "state.json").read_bytes().partition(b"\n")[2])
    seen = set()

    def look(value):
        if isinstance(value, dict):
            seen.update(value)
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                assert isinstance(one, dict), one
                look(one)

    look(state)
    for kind in (GpuState, Diagnostics, Line, LateHole):
        assert {field.name for field in fields(kind)} <= seen


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_file_with_other_names_is_not_believed(tmp_path, change):
    once = restored(tmp_path, 3)
    StateFile(tmp_path, "h", "boot").save(once, Calibrator(), T0 + 68 * S)
    state = json.loads((tmp_path / "state.json").read_bytes().partition(b"\n")[2])
    if change == "missing":
        del state["gpus"][0]["state"]["counter_mj"]
    else:
        state["gpus"][0]["state"]["counter_kj"] = 1
    body = json.dumps(state).encode()
    head = f"wattshed-state {VERSION} {zlib.crc32(body):08x} {len(body)}\n".encode()
    (tmp_path / "state.json").write_bytes(head + body)
    found = StateFile(tmp_path, "h", "boot").restore(Accounts(live=True), Calibrator())
    (problem,) = found.problems
    assert re.search(r"gpus\[0\]\.state has (no counter_mj|other fields: counter_kj)", problem)
    assert found.found  # in the file before it, which version 3 wrote


def test_a_number_too_few_in_a_former_file_is_not_believed(tmp_path):
    head, _, body = (FILES / "version_3.json").read_bytes().partition(b"\n")
    state = json.loads(body)
    state["gpus"][0]["merge"].pop()
    with pytest.raises(ValueError, match="34 numbers where there should be 35"):
        former_versions.upgraded(state, int(head.split()[1]))
