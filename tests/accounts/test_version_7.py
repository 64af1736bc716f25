"""A state that the first build with learned watts wrote: MIG, shared GPUs, host meters and the node, to the last joule.

Its learned watts have another form, and are learned anew; what the build itself came to is written down here.
"""

from pathlib import Path

import pytest

from tests.accounts.made import S, window
from tests.virtual import bills, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Event

FILE = Path(__file__).parent / "state_files" / "version_7.json"
SAVED_US = 1_767_225_614_040_000
WHOLE, DIVIDED = (f"GPU-51a7ed00-0009-4000-8000-00000000000{n}" for n in (0, 1))
GPUS = {WHOLE: (12889285000000, 0, 0), DIVIDED: (8377924000000, 339394720000, 0)}
JOBS = {
    ("slurm:7", WHOLE): (952000000000, 6735630519466),
    ("slurm:8", WHOLE): (952000000000, 4249654480534),
    ("slurm:10", DIVIDED): (271514880000, 1641553868283),
    ("slurm:9", DIVIDED): (1314090400000, 4811370131717),
}
WENT_ON_GPUS = {WHOLE: (18869620000000, 0, 0), DIVIDED: (12959130000000, 339394720000, 0)}
WENT_ON_JOBS = {
    ("slurm:7", WHOLE): (1509200000000, 9973009056153),
    ("slurm:8", WHOLE): (1509200000000, 5878210943847),
    ("slurm:10", DIVIDED): (271514880000, 1641553868283),
    ("slurm:9", DIVIDED): (2421490400000, 8285176131717),
}
METERS = {
    "nvml/memory-0": 1283800000000, "nvml/memory-1": 1274000000000, "rapl/package-0": 3112000034000,
    "rapl/dram-0": 739800070000, "rapl/package-1": 2921675398000, "rapl/dram-1": 711251338000,
    "cray/accel0": 13260000000000, "cray/accel1": 8512000000000, "cray/cpu": 6034000000000,
    "cray/node": 43160000000000, "cray/memory": 1450000000000,
}  # fmt: skip
PARTS = {"gpu": 18757330000000, "cpu": 5590803476000, "memory": 1345620594000, "rest": 14010245930000}


def restored(folder, rule):
    (folder / "state.json").write_bytes(FILE.read_bytes())
    accounts = Accounts(live=True, split=rule)
    return accounts, StateFile(folder, "h", "boot").restore(accounts, Calibrator())


def go_on(accounts):
    """Book six seconds more, from two seconds after it."""
    devices = tuple(account.device for account in accounts.gpus.values())
    first, second = (int(books.state.counter_mj) for books in accounts.books_of("h"))
    for n in range(6):
        t = (SAVED_US // S + 2 + n) * S
        usage = [
            (0, "slurm:7", t, t + S, 600_000, -1, 1),
            (0, "slurm:8", t, t + S, 300_000, -1, 1),
            (1, "slurm:9", t, t + S, 700_000, 1_000_000, 1),
        ]
        rows = [
            [(t + 600_000, 400_000, first + 400_000 * (n + 3))],
            [(t + 700_000, 300_000, second + 300_000 * (n + 3))],
        ]
        events = (Event(t, "restart", detail="same-boot"),) * (n == 0)
        accounts.add(window(t, t + S, rows, usage, devices=devices, host="h", events=events))
    accounts.finish()


@pytest.mark.parametrize("learned", [False, True])
def test_no_joule_of_it_is_lost(tmp_path, learned):
    accounts, found = restored(tmp_path, SplitRule(learned=learned))
    assert (found.found, found.same_boot, found.saved_us) == (True, True, SAVED_US)
    (line,) = found.problems
    told = f"learned watts of {WHOLE}, {DIVIDED} begin anew (an older wattshed learned them)"
    assert line == f"{tmp_path / 'state.json'}: {told}"
    beside = accounts.beside["h"]
    assert bills(accounts) == (GPUS, JOBS)
    assert {name: book.energy_hnj for name, book in beside.meters.items()} == METERS
    assert beside.node.parts_hnj == PARTS
    assert accounts.watts.jobs() == {}
    go_on(accounts)
    whole, parts = sums(accounts)
    assert whole == parts == {gpu: energy for gpu, (energy, _, _) in WENT_ON_GPUS.items()}
    if not learned:
        assert bills(accounts) == (WENT_ON_GPUS, WENT_ON_JOBS)


def test_saved_again_it_says_the_same_and_nothing_begins_anew(tmp_path):
    once, _ = restored(tmp_path, SplitRule())
    StateFile(tmp_path, "h", "boot").save(once, Calibrator(), SAVED_US)
    again = Accounts(live=True, split=SplitRule())
    assert StateFile(tmp_path, "h", "boot").restore(again, Calibrator()).problems == ()
    for accounts in (once, again):
        go_on(accounts)
    assert bills(again) == bills(once)
