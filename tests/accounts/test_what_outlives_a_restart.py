"""All that the books know is on disk and comes back; of a file that is not whole, or not ours, nothing does."""

import json
import re
import zlib
from dataclasses import fields

import pytest

from tests.accounts.made import S, window
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import GpuKey, JobAccount, Line
from wattshed.agent.accounts.modules import Module
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.whole_state import VERSION
from wattshed.agent.window import JobKey
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.records import of_objects

T0 = 1_700_000_000 * S
GPU = GpuKey("h", "GPU-0")


def distinct(line, first):
    """Give every field of a line another number."""
    for place, column in enumerate(fields(line)):
        setattr(line, column.name, first + place)
    return line


def filled():
    """Books in which no two numbers are alike."""
    accounts = Accounts()
    for n in range(5):
        t = T0 + n * S
        usage = [(0, "a", t, t + S, 500_000, -1, 1)]
        accounts.add(window(t, t + S, [[(t, 300_000, 300_000 * n + 7), (t + S // 2, 300_000, -1)]], usage, busy=[S]))
    (account,) = accounts.gpus.values()
    account.idle_hnj, account.unattributed_hnj = 2**69 + 2, 2**68 + 3
    account.totals = distinct(Diagnostics(), 1_000)
    account.booked_us, account.silent_us, account.missing_us = 11, 12, 13
    account.module = Module(14, of_objects([distinct(GpuState(), 100)], GpuState))
    ledger = accounts.ledger
    ledger.jobs = {
        JobKey(key): JobAccount(
            JobKey(key), {"user": f"user of {key}"}, T0 + first, T0 + first + 1, first + 2, folded=key == "b",
            shown_from_us=first + 3, lines={GPU: distinct(Line(), first + 10)},
        )
        for key, first in (("a", 100), ("b", 200))
    }  # fmt: skip
    ledger.ended_hnj, ledger.other, ledger.folded = {GPU: 2**66 + 5}, {GPU: distinct(Line(), 300)}, 17
    lines = [*(job.lines[GPU] for job in ledger.jobs.values()), ledger.other[GPU]]
    account.energy_hnj = account.idle_hnj + account.unattributed_hnj + ledger.ended_hnj[GPU]
    account.energy_hnj += sum(line.static_hnj + line.dynamic_hnj for line in lines)
    return accounts


def lives(folder, accounts, learned_mw=()):
    """Save, and restore into new books: these, what they learned, and what was found."""
    calibrator, after, again = Calibrator(), Accounts(), Calibrator()
    calibrator.learned_mw.update(learned_mw)
    StateFile(folder, "h", "boot").save(accounts, calibrator, T0 + 5 * S)
    found = StateFile(folder, "h", "boot").restore(after, again)
    return after, again, found


def test_a_life_may_go_on_without_any_gpu(tmp_path):
    """Nothing is read of a GPU that is away, and nothing is lost, whatever the driver shows first."""
    before = filled()
    after, _, _ = lives(tmp_path, before)
    for n in range(5, 8):
        after.add(window(T0 + n * S, T0 + n * S + S, []))
    assert after.gpus[GPU].energy_hnj == before.gpus[GPU].energy_hnj


def test_every_number_comes_back(tmp_path):
    before = filled()
    after, calibrator, found = lives(tmp_path, before, {"GPU-0": 61_000.0, "GPU-1": 62_000.5})
    assert (found.found, found.same_boot, found.saved_us, found.problems) == (True, True, T0 + 5 * S, ())
    assert calibrator.learned_mw == {"GPU-0": 61_000.0, "GPU-1": 62_000.5}
    assert after.since_us == before.since_us == T0
    (mine,), (theirs,) = after.gpus.values(), before.gpus.values()
    numbers = ("energy_hnj", "idle_hnj", "unattributed_hnj", "totals", "booked_us", "silent_us", "missing_us")
    for name in numbers:
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.device.uuid == "GPU-0"
    assert mine.module.energy_hnj == 14
    assert mine.module.state.tolist() == theirs.module.state.tolist()
    (books,), (had,) = after.books_of("h"), before.books_of("h")
    assert books.state == had.state
    assert books.hole.plain() == had.hole.plain()
    assert books.waiting.plain() == had.waiting.plain()
    ledger = before.ledger
    assert (after.ledger.ended_hnj, after.ledger.other, after.ledger.folded) == (ledger.ended_hnj, ledger.other, 17)
    for key, job in ledger.jobs.items():
        job.shown_hnj = job.energy_hnj  # what was shown last is what was saved
        assert after.ledger.jobs[key] == job


def test_what_is_saved_again_is_the_same(tmp_path):
    """Nothing wears off, however often an agent restarts."""
    before = filled()
    after, calibrator, _ = lives(tmp_path, before, {"GPU-0": 61_000.25})
    first = (tmp_path / "state.json").read_bytes()
    StateFile(tmp_path, "h", "boot").save(after, calibrator, T0 + 5 * S)
    assert (tmp_path / "state.json").read_bytes() == first
    assert (tmp_path / "state.before").read_bytes() == first


def as_file(body, version=VERSION, size=None, checksum=None):
    size, checksum = len(body) if size is None else size, zlib.crc32(body) if checksum is None else checksum
    return f"wattshed-state {version} {checksum:08x} {size}\n".encode() + body


def refused(folder, raw):
    """Restore from a file: what is said of it, once it is sure that nothing was taken over and it is put aside."""
    path = folder / "state.json"
    path.write_bytes(raw)
    (folder / "state.before").unlink(missing_ok=True)
    accounts, calibrator = Accounts(), Calibrator()
    found = StateFile(folder, "h", "boot").restore(accounts, calibrator)
    assert (found.found, found.same_boot, found.saved_us) == (False, False, 0)
    assert (accounts.gpus, accounts.ledger.jobs, accounts.since_us, calibrator.learned_mw) == ({}, {}, None, {})
    assert not path.exists()
    assert path.with_name("state.json.corrupt").read_bytes() == raw
    (problem,) = found.problems
    assert problem.startswith(f"{path}: ")
    return problem


def body_of(folder):
    lives(folder, filled(), {"GPU-0": 61_000.0})
    return (folder / "state.json").read_bytes().partition(b"\n")[2]


@pytest.mark.parametrize("name", ["energy_hnj", "idle_hnj", "booked_us", "saved_us", "start_us", "method", "folded"])
def test_another_digit_is_noticed_though_it_is_good_json(tmp_path, name):
    body = body_of(tmp_path)
    found = re.search(rf'"{name}":(\d+|false)'.encode(), body)
    value = b"true " if found[1] == b"false" else found[1][:-1] + bytes([found[1][-1] ^ 1])
    raw = as_file(body)
    changed = raw.replace(body, body[: found.start(1)] + value + body[found.end(1) :])
    assert len(changed) == len(raw)
    assert json.loads(changed.partition(b"\n")[2]) != json.loads(body)
    assert "checksum" in refused(tmp_path, changed)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({"version": 0}, "version"),
        ({"size": 1}, "checksum"),
        ({"checksum": 1}, "checksum"),
    ],
)
def test_the_first_line_is_believed_only_if_all_of_it_is_right(tmp_path, head, says):
    assert says in refused(tmp_path, as_file(body_of(tmp_path), **head))


@pytest.mark.parametrize(
    "extra", [b"", b"x", b"wattshed-state\n{}", b"wattshed-books 3 0 0\n", b"wattshed-state 3 0 0 0\n"]
)
def test_other_files_are_no_state(tmp_path, extra):
    assert "not a state file" in refused(tmp_path, extra)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["gpus"][0]["state"].pop("counter_mj"),
        lambda state: state["gpus"][0]["totals"].pop("gaps"),
        lambda state: state["gpus"][0]["module"].pop("state"),
        lambda state: state.update(jobs=[{}]),
        lambda state: state["jobs"][1].update(end_us="soon"),
        lambda state: state["jobs"][0]["lines"][0].update(unknown=1),
        lambda state: state.pop("folded"),
        lambda state: state.pop("since_us"),
        lambda state: state.update(other=[["GPU-0", "x"]]),
    ],
)
def test_whole_files_of_others_leave_nothing_half_read(tmp_path, change):
    """Their checksum is right; each goes wrong only after something before it could be read."""
    state = json.loads(body_of(tmp_path))
    change(state)
    assert "cannot be trusted" in refused(tmp_path, as_file(json.dumps(state).encode()))


def test_a_list_is_no_state(tmp_path):
    assert "not an object" in refused(tmp_path, as_file(b"[]"))


def test_books_of_another_host_stay_where_they_are(tmp_path):
    lives(tmp_path, filled())
    accounts = Accounts()
    found = StateFile(tmp_path, "other", "boot").restore(accounts, Calibrator())
    assert not found.found
    assert "belongs to host 'h', not 'other'" in found.problems[0]
    assert (tmp_path / "state.json").exists()
    assert not accounts.gpus


def test_one_agent_at_a_time_has_the_books(tmp_path):
    first, second = StateFile(tmp_path / "new", "h", "boot"), StateFile(tmp_path / "new", "h", "boot")
    assert first.claim()
    assert not second.claim()
    first.release()
    assert second.claim()
    second.release()
    first.release()  # a second time is nothing
    assert StateFile(tmp_path / "new", "h", "boot", name="simulated").claim()
