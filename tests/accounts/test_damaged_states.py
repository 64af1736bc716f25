"""States that parse and are wrong in one part: all is taken over, or all that joules depend on is left; then it meters.

Every kind of place in the state of a whole life is damaged: another type, length or size, or not there at all.
"""

import json
import re
import zlib
from collections import Counter
from copy import deepcopy
from dataclasses import fields

import pytest

from tests.depth import WHOLE
from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.journal import Journal
from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.whole_state import VERSION
from wattshed.agent.accounts.work import JobWork, UnitWork
from wattshed.agent.window import WorkRow
from wattshed.agent.work_units.inbox import WorkInbox

SCRIPT = """
gpus = 2
cycle_s = 600
[[gpu]]
index = 1
mig = [[1, 0, 60], [2, 0, 32]]
[[job]]
name = "7"
load = [[1.0, 400.0, 60], [0.5, 100.0, 20]]
cores = 8
[[job]]
name = "8"
load = [[1.0, 100.0, 30]]
[[job]]
name = "9"
gpus = [1]
instance = "1/0"
load = [[5.0, 150, 70]]
[[job]]
name = "10"
gpus = [1]
instance = "2/0"
start_s = 0
end_s = 8
load = [[5.0, 150, 70]]
[[host_meter]]
source = "rapl"
[[host_meter]]
source = "cray"
"""
RULE = SplitRule(learned=True)
END_OF_LIFE_US = 3_000_000
ANEW = {"watts", "open_slots", "idle_mw", "work"}
"""Parts that no joule depends on."""


def times_two(one):
    return [*one, *one] if isinstance(one, list) else [one, one]


DAMAGES = {
    "null": lambda _: None, "text": lambda _: "x", "no list": lambda _: [], "no table": lambda _: {},
    "part": lambda _: 1.5, "flag": lambda _: True, "long": lambda _: 2**62 - 1, "huge": lambda _: 10**400,
    "infinite": lambda _: float("inf"), "less": lambda _: -1, "nested": lambda one: [one], "twice": times_two,
    "shorter": lambda one: one[:-1] if isinstance(one, list) else None,
}  # fmt: skip
EACH = 3 if WHOLE else 1


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """The state of an agent, the bills in it, and the windows of the next agent."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "s.toml").write_text(SCRIPT)
    node, clock = simulated(folder, str(folder / "s.toml"))
    about = {"state": folder / "state", "split": RULE, "share": True, "keep_us": END_OF_LIFE_US, "inbox": True}
    one, two = (agent(node, clock, history=folder / "history.db", **about) for _ in range(2))
    one.live(16_000_000)
    one.close()
    state = json.loads((folder / "state" / "state.json").read_bytes().partition(b"\n")[2])
    two.daemon.restore()
    saved = bills(two.accounts)
    two.live(1_000_000)
    two.close()
    fill(state)
    return state, saved, two.windows


def fill(state):
    """Add what did not happen in that life."""
    now_us, (gpu, divided) = state["saved_us"], state["gpus"]
    hole = LateHole(now_us - 9_000_000, now_us - 6_000_000, 10**12, 200_000, 300_000, 0)
    gpu |= {"late_hole": vars_of(hole), "xids": {"79": 2}, "last_xid": 79}
    divided["module"] = {"energy_hnj": 10**13, "state": dict(divided["state"])}
    work = JobWork({("steps", "told"): UnitWork(5, 0, 10**12, 1, 2)}, 7, {now_us: 10**12})
    state["jobs"][0]["work"] = work.plain()
    row = WorkRow(state["jobs"][0]["key"], "steps", 3, "told", now_us - 2_000_000, now_us)
    state["work"] = {"rows": [[vars_of(row), 5]], "rejected": {"units": 1}, "baselines": {"server": {"owner": "x"}}}
    state["idle_mw"] = {gpu["gpu"]: 70_000.5}


def vars_of(record):
    return {field.name: getattr(record, field.name) for field in fields(record)}


def places(value, path=()):
    """Every place in a state: the names and numbers that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*path, name)
        yield from places(one, (*path, name))


def kinds(state):
    """One place of each kind: rows of a list are alike, and so is what has a name of its own."""
    alike = {}
    for path in places(state):
        kind = tuple(name if isinstance(name, str) and name.isidentifier() else "*" for name in path)
        alike.setdefault(kind, path)
    return [path for path in alike.values() if path[0] not in {"host", "seq", "mark"}]


def damaged(state, path, damage):
    """Return the file of a state that is damaged at a place; without a damage, the place is missing."""
    inside, last = state, path[-1]
    for name in path[:-1]:
        inside = inside[name]
    before = inside.copy()
    if damage is None:
        del inside[last]
    else:
        inside[last] = damage(inside[last])
    found = as_file(state)
    inside.clear()
    inside.update(before) if isinstance(inside, dict) else inside.extend(before)
    return found


def as_file(state):
    body = json.dumps(state).encode()
    return f"wattshed-state {VERSION} {zlib.crc32(body):08x} {len(body)}\n".encode() + body


def cases(state):
    """Each kind of place missing, and damaged in some ways, which take turns; fewer in a plain run."""
    for number, path in enumerate(kinds(state)):
        if WHOLE or len(path) < 3 or number % 4 == 0:
            yield path, "missing", None
        for which in range(EACH):
            name = [*DAMAGES][(number + which) % len(DAMAGES)]
            yield path, name, DAMAGES[name]


def taken(folder):
    accounts = Accounts(ledger=Ledger(100), live=True, split=RULE)
    return accounts, StateFile(folder, "sim", "boot").restore(accounts, Calibrator())


def amounts(told):
    """What bills say, whatever jobs are called."""
    gpus, jobs = told
    return gpus, sorted(jobs.values())


def meter(accounts, cuts, windows, folder):
    """Go on as the loop does: account, cut, save and publish."""
    publisher = Publisher("sim", "test", "simulated", "simulated", windows[0].start_us)
    inbox = WorkInbox(lambda: windows[-1].end_us)
    inbox.restore(accounts.ledger.work.baselines)
    file = StateFile(folder, "sim", "boot", name="after")
    for window in windows:
        accounts.add(inbox.into(window, accounts.ledger.work.baselines))
        retired = accounts.retire(window.end_us, END_OF_LIFE_US)
        if cuts is not None:
            cuts.close(retired, accounts.gpus)
            cuts.follow(accounts.ledger.jobs, accounts.gpus, accounts.since_us, window.end_us)
        file.save(accounts, Calibrator(), window.end_us, cuts=cuts)
        publisher.publish(accounts, window, calls={}, late_s=0.0, duty=0.0, faults={})
    whole, parts = sums(accounts)
    assert whole == parts


def test_a_damaged_state_is_taken_over_whole_or_set_aside(life, tmp_path):
    state, saved, windows = life
    sound, before = as_file(state), ({}, {})
    went = Counter()
    for path, name, damage in cases(state):
        told = f"{'.'.join(map(str, path))} is {name}"
        if (file := damaged(state, path, damage)) == sound:
            continue
        (tmp_path / "state.json").write_bytes(file)
        accounts, found = taken(tmp_path)
        assert len(found.problems) <= 1, told
        if found.found:
            assert amounts(bills(accounts)) == amounts(saved), told
            meter(accounts, found.cuts, windows, tmp_path)
        else:
            assert bills(accounts) == before, told
            assert (accounts.beside, accounts.since_us) == ({}, None), told
        assert found.found or not set(path) & ANEW or "device" in path, told
        went[found.found, len(found.problems)] += 1
    assert as_file(state) == sound
    assert min(went[True, 1], went[False, 1]) > 20


@pytest.mark.parametrize("part", ["watts", "open_slots", "idle_mw", "work", "work of a job"])
def test_what_begins_anew_is_told_in_a_line(life, tmp_path, part):
    state, saved, _ = deepcopy(life)
    if part in {"watts", "open_slots"}:
        for gpu in state["gpus"]:
            gpu[part] = {"form": 3}
    elif part == "work of a job":
        for job in state["jobs"]:
            job["work"] = {"units": []}
    else:
        state[part] = "of a later form"
    (tmp_path / "state.json").write_bytes(as_file(state))
    accounts, found = taken(tmp_path)
    (line,) = found.problems
    assert (found.found, bills(accounts)) == (True, saved)
    assert line.startswith(f"{tmp_path / 'state.json'}: ")
    assert re.search(
        r"learned watts of GPU-\S+, GPU-\S+ begin anew \(|(learned idle power|work .*) begins anew \(", line
    )
    assert accounts.watts.jobs().keys() == (set() if part in {"watts", "open_slots"} else accounts.watts.jobs().keys())


def test_the_state_before_is_taken_where_this_one_is_damaged(life, tmp_path):
    state, saved, windows = deepcopy(life)
    (tmp_path / "state.before").write_bytes(as_file(state))
    state["gpus"][0]["energy_hnj"] += 1
    (tmp_path / "state.json").write_bytes(as_file(state))
    accounts, found = taken(tmp_path)
    (line,) = found.problems
    assert "the joules of its jobs and nobody are not those of its GPUs" in line
    assert (found.found, bills(accounts)) == (True, saved)
    meter(accounts, found.cuts, windows, tmp_path)


def test_changes_that_make_no_state_are_left_out(life, tmp_path):
    state, saved, _ = life
    (tmp_path / "state.json").write_bytes(as_file(state))
    journal = Journal(tmp_path / "state.journal")
    change = {"gpus": [{"gpu": state["gpus"][0]["gpu"], "idle_hnj": None}], "jobs": [], "gone": []}
    journal.begin()
    journal.append(state["seq"] + 1, state["mark"], json.dumps(change).encode(), sync=False)
    journal.close()
    accounts, found = taken(tmp_path)
    (line,) = found.problems
    assert line.startswith(f"{tmp_path / 'state.journal'}: makes no state of {tmp_path / 'state.json'} (")
    assert (found.found, bills(accounts)) == (True, saved)
    assert (tmp_path / "state.json").exists()
