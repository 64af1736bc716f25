"""The books as a whole: conservation through windows, restarts, retirement, and merging of parts."""

import os
import zlib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.accounts.old_state import as_version_1, as_version_2
from tests.depth import examples
from wattshed.agent.accounts import state
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator, MeterCorrection
from wattshed.agent.accounts.ledger import GpuKey, Ledger, Line
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.uncertainty import gpu_sigma_j, job_sigma_j
from wattshed.agent.accounts.whole_state import VERSION
from wattshed.agent.window import OTHER, Event

T0 = 1_700_000_000 * S


def live(seconds, start=0, watts=300, jobs=(), base=0, host="h", restart=""):
    """Windows of one second with one GPU: counter at the second, instant power at the half."""
    for n in range(start, start + seconds):
        t = T0 + n * S
        c = base + watts * 1000 * n
        rows = [(t + 1000, watts * 1000, c + watts), (t + S // 2, watts * 1000, -1)]
        usage = [
            (0, key, max(t, T0 + a), min(t + S, T0 + b), -1, -1, 1)
            for key, a, b in jobs
            if a < (n + 1) * S and b > n * S
        ]
        events = (Event(t, "restart", detail=restart),) if restart and n == start else ()
        yield window(t, t + S, [rows], usage, host=host, events=events, seq=n)


def book(windows, accounts=None):
    accounts = accounts or Accounts(live=True)
    for one in windows:
        accounts.add(one)
    return accounts


def published(accounts):
    totals, parts = {}, {}
    for key, account in accounts.gpus.items():
        totals[key] = account.energy_hnj
        parts[key] = account.idle_hnj + account.unattributed_hnj + accounts.ledger.ended_hnj.get(key, 0)
    for _, key, static, dynamic in accounts.ledger.shares():
        parts[key] += static + dynamic
    return totals, parts


def test_a_job_pays_from_its_real_start_to_its_real_end():
    accounts = book(live(20, jobs=[("a", 3_250_000, 11_750_000)]))
    accounts.finish()
    (job,) = accounts.ledger.jobs.values()
    assert job.energy_hnj / 2e9 == pytest.approx(300 * 8.5, rel=1e-6)
    assert sum(line.active_us for line in job.lines.values()) == 8_500_000


def test_a_cut_between_two_readings_follows_the_line_between_them():
    rows = [(T0, 100_000, -1), (T0 + 2 * S, 500_000, -1)]
    usage = [(0, "a", T0 + S, T0 + 2 * S, -1, -1, 1)]
    accounts = book([window(T0, T0 + 2 * S, [rows], usage, devices=(device(idle_mw=-1),))])
    # 100 to 500 W in two seconds: the second second's mean is 400 W, not the 300 W of the whole.
    assert accounts.ledger.jobs["a"].energy_hnj == 400 * 2_000_000_000
    (account,) = accounts.gpus.values()
    assert account.unattributed_hnj == 200 * 2_000_000_000


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9 * S), st.integers(1, 4 * S)), max_size=6),
    st.integers(1, 6),
)
def test_parts_sum_to_the_whole_after_every_window(jobs, cap):
    # Rows of one owner never overlap: keep the first of each.
    chosen = {key: (key, a, a + d) for key, a, d in jobs}
    accounts = Accounts(ledger=Ledger(series_cap=cap), live=True)
    for one in live(12, jobs=list(chosen.values())):
        accounts.add(one)
        accounts.retire(one.end_us, 2 * S)
        totals, parts = published(accounts)
        assert totals == parts


def shares(accounts):
    return {job: static + dynamic for job, _, static, dynamic in accounts.ledger.shares()}


def end(accounts, second):
    """Let the accounts of jobs that ended before this second close."""
    for later in range(3):
        accounts.retire(T0 + (second + later) * S, S)


def test_an_ended_job_stays_for_its_time_and_then_its_joules_are_ended_jobs():
    accounts = book(live(5, jobs=[("a", 0, 2 * S)]))
    for second in (5, 305):
        accounts.retire(T0 + second * S, 300 * S)
        bill = shares(accounts)["a"]
        assert bill > 0
    accounts.retire(T0 + 306 * S, 300 * S)
    assert shares(accounts) == {}  # not even _other, which is for those that never had a series
    assert list(accounts.ledger.ended_hnj.values()) == [bill]
    totals, parts = published(accounts)
    assert totals == parts


def test_the_time_that_the_agent_was_down_is_no_time_that_a_job_was_shown(tmp_path):
    before = book(live(5, jobs=[("a", 0, 2 * S)]))
    before.retire(T0 + 4 * S, 300 * S)
    before.retire(T0 + 5 * S, 300 * S)
    StateFile(tmp_path, "h", "boot").save(before, Calibrator(), T0 + 5 * S)
    after = Accounts(live=True)
    StateFile(tmp_path, "h", "boot").restore(after, Calibrator())
    book(live(1, start=1000, restart="same-boot"), after)
    for second, there in ((1001, True), (1299, True), (1301, False)):
        after.retire(T0 + second * S, 300 * S)
        assert ("a" in shares(after)) is there, second


def test_a_job_whose_energy_is_still_to_be_booked_stays():
    accounts = book(live(5, jobs=[("a", 0, 10 * S)]))
    for n in (5, 6, 7):  # used, but not read
        t = T0 + n * S
        accounts.add(window(t, t + S, [[]], [(0, "a", t, t + S // 2, -1, -1, 1)], host="h"))
    for second in (8, 9, 10):
        accounts.retire(T0 + second * S, 0)
        assert "a" in shares(accounts)
    book(live(7, start=10), accounts)  # what was not read is split when some seconds after it are known
    bill = shares(accounts)["a"]
    accounts.retire(T0 + 17 * S, 0)
    assert shares(accounts) == {"a": bill}  # nobody has seen it yet
    accounts.retire(T0 + 18 * S, 0)
    assert shares(accounts) == {}
    totals, parts = published(accounts)
    assert totals == parts


def test_a_job_that_comes_back_begins_anew_and_is_not_counted_twice():
    accounts = book(live(5, jobs=[("a", 0, 2 * S)]))
    end(accounts, 5)
    first = sum(accounts.ledger.ended_hnj.values())
    assert first > 0
    book(live(5, start=5, jobs=[("a", 6 * S, 9 * S)]), accounts)
    assert 0 < shares(accounts)["a"] <= 3 * 300 * 2_000_000_000
    assert sum(accounts.ledger.ended_hnj.values()) == first
    assert accounts.ledger.jobs["a"].start_us == T0 + 6 * S  # not the first time's
    totals, parts = published(accounts)
    assert totals == parts


def test_a_job_beyond_the_cap_stays_in_other_when_it_ends_and_when_it_comes_back_with_a_series():
    accounts = Accounts(ledger=Ledger(series_cap=1))
    book(live(5, jobs=[("a", 0, 4 * S), ("b", 0, 2 * S)]), accounts)
    other = shares(accounts)[OTHER]
    end(accounts, 8)
    assert shares(accounts) == {OTHER: other}
    assert sum(accounts.ledger.ended_hnj.values()) > 0  # a's
    book(live(5, start=10, jobs=[("b", 10 * S, 15 * S)]), accounts)
    assert shares(accounts).keys() == {OTHER, "b"}
    assert shares(accounts)[OTHER] == other
    totals, parts = published(accounts)
    assert totals == parts


def test_jobs_beyond_the_cap_take_nobody_elses_place():
    accounts = Accounts(ledger=Ledger(series_cap=2))
    book(live(4, jobs=[(key, 0, (4 if key > "b" else 1) * S) for key in "abcdef"]), accounts)
    end(accounts, 4)  # a and b, with series of their own, are gone; four without go on
    book(live(3, start=4, jobs=[("g", 4 * S, 7 * S), *((key, 4 * S, 7 * S) for key in "cdef")]), accounts)
    assert shares(accounts).keys() == {OTHER, "g"}


def test_one_users_own_names_leave_room_for_everybody_else():
    """A user may name programs freely, and with thousands of them take every place that there is."""
    accounts = Accounts(ledger=Ledger(series_cap=8))
    mine = [f"user:1001/{n}" for n in range(50)]
    book(live(4, jobs=[(key, 0, 4 * S) for key in mine]), accounts)
    later = ["slurm:501", "k8s:x/main", "user:1002/python"]
    book(live(4, start=4, jobs=[(key, 4 * S, 8 * S) for key in (*mine, *later)]), accounts)
    shown = shares(accounts)
    assert set(later) < shown.keys()
    assert sum(key.startswith("user:1001/") for key in shown) == 4
    assert accounts.ledger.folded == 46
    totals, parts = published(accounts)
    assert totals == parts


def test_what_was_shown_within_other_before_an_upgrade_stays_there(tmp_path):
    before = book(live(10, jobs=[("a", 0, 8 * S)]))
    (account,) = before.gpus.values()
    gone = account.unattributed_hnj
    assert gone > 0
    account.unattributed_hnj = 0
    before.ledger.ended_hnj = {GpuKey("h", "GPU-0"): gone}  # as if it had been an ended job's
    file = StateFile(tmp_path, "h", "boot")
    file.save(before, Calibrator(), T0 + 10 * S)
    as_version_1(tmp_path / "state.json")
    after = Accounts(live=True)
    assert file.restore(after, Calibrator()).found
    assert shares(after) == {"a": before.ledger.jobs["a"].energy_hnj, OTHER: gone}
    book(live(10, start=10, restart="same-boot"), after)
    end(after, 400)
    assert shares(after) == {OTHER: gone}
    file.save(after, Calibrator(), T0 + 400 * S)
    again = Accounts(live=True)
    assert file.restore(again, Calibrator()).found
    assert published(again) == published(after)
    assert (again.ledger.ended_hnj, shares(again)) == (after.ledger.ended_hnj, shares(after))
    totals, parts = published(again)
    assert totals == parts


def test_a_file_of_version_2_goes_on_and_its_guesses_become_a_sigma(tmp_path):
    jobs = [("a", 0, 60 * S), ("b", 0, 60 * S)]  # without activities: split by a guess
    before = book(live(10, jobs=jobs))
    guessed = fields(Line)[6].name
    for job in before.ledger.jobs.values():
        for line in job.lines.values():
            setattr(line, guessed, 1_000_000)
    file = StateFile(tmp_path, "h", "boot")
    file.save(before, Calibrator(), T0 + 10 * S)
    as_version_2(tmp_path / "state.json")
    after = Accounts(live=True)
    assert file.restore(after, Calibrator()).found
    assert published(after) == published(before)
    lines = [line for job in after.ledger.jobs.values() for line in job.lines.values()]
    assert [getattr(line, guessed) for line in lines] == [288_675, 288_675]  # uniform: over the root of 12
    book(live(5, start=20, restart="same-boot", jobs=jobs), after)
    totals, parts = published(after)
    assert totals == parts
    (account,) = after.gpus.values()
    assert account.energy_hnj / 2e9 == pytest.approx(300 * 24)
    file.save(after, Calibrator(), T0 + 25 * S)
    again = Accounts(live=True)
    assert file.restore(again, Calibrator()).found
    assert published(again) == published(after)


def test_a_gpu_that_is_away_over_a_restart_keeps_its_joules(tmp_path):
    two = (device(0), device(1))

    def both(n, devices, events=()):
        t = T0 + n * S
        rows = [[(t + 1000, 300_000, 300_000 * (n + 1))] for _ in devices]
        usage = [(i, f"job{d.index}", t, t + S, -1, -1, 1) for i, d in enumerate(devices)]
        return window(t, t + S, rows, usage, host="h", devices=devices, events=events)

    accounts = book(both(n, two) for n in range(5))
    for start, devices in ((10, two[1:]), (20, two[1:]), (30, two)):
        StateFile(tmp_path, "h", "boot").save(accounts, Calibrator(), T0 + start * S)
        accounts = Accounts(live=True)
        StateFile(tmp_path, "h", "boot").restore(accounts, Calibrator())
        for n in range(start, start + 5):
            accounts.add(both(n, devices, (Event(T0 + n * S, "restart", detail="same-boot"),) * (n == start)))
            accounts.retire(T0 + n * S + S, 2 * S)
            totals, parts = published(accounts)
            assert totals == parts
    whole = {key.gpu: account.energy_hnj / 2e9 for key, account in accounts.gpus.items()}
    # Its counter tells what it used while nobody could read it, and the holder before and after had it throughout.
    assert whole == pytest.approx({"GPU-0": 300 * 34, "GPU-1": 300 * 34})
    assert accounts.ledger.jobs["job0"].energy_hnj == accounts.ledger.jobs["job1"].energy_hnj


@pytest.mark.parametrize("job", [(), [("a", 0, 60 * S)]])
def test_the_downtime_is_the_holders_though_power_is_read_before_the_counter(tmp_path, job):
    """Else whoever is there in the first half second would pay for all of it."""
    before = book(live(10, jobs=job))
    StateFile(tmp_path, "h", "boot").save(before, Calibrator(), T0 + 10 * S)
    after = Accounts(live=True)
    StateFile(tmp_path, "h", "boot").restore(after, Calibrator())
    for n in range(1000, 1005):
        t = T0 + n * S
        rows = [(t + 1000, 300_000, -1), (t + S // 2, 300_000, 300_000 * n + 150_000)]
        usage = [(0, key, t, t + S, -1, -1, 1) for key in ("a" if job else "late",)]
        events = (Event(t, "restart", detail="same-boot"),) * (n == 1000)
        after.add(window(t, t + S, [rows], usage, host="h", events=events))
    bill = shares(after)
    (account,) = after.gpus.values()
    if job:
        assert bill["a"] == account.energy_hnj
    else:
        assert bill["late"] / 2e9 == pytest.approx(300 * 4.5, abs=1)
    assert account.booked_us == pytest.approx(1004.5 * S, abs=S)


def test_folded_jobs_stay_folded():
    accounts = Accounts(ledger=Ledger(series_cap=1))
    for one in live(10, jobs=[("a", 0, 5 * S), ("b", 5 * S, 10 * S)]):
        accounts.add(one)
    assert {job for job, *_ in accounts.ledger.shares()} == {"a", OTHER}
    assert accounts.ledger.folded == 1


@pytest.mark.parametrize("job", [(), [("a", 0, 60 * S)]])
def test_a_restart_bridges_the_downtime(tmp_path, job):
    calibrator = Calibrator()
    before = book(live(10, jobs=job))
    StateFile(tmp_path, "h", "boot").save(before, calibrator, T0 + 10 * S)
    after = Accounts(live=True)
    found = StateFile(tmp_path, "h", "boot").restore(after, Calibrator())
    assert (found.found, found.same_boot, found.problems) == (True, True, ())
    assert published(after) == published(before)
    book(live(10, start=30, jobs=job, restart="same-boot"), after)
    after.finish()
    totals, parts = published(after)
    assert totals == parts
    ((_, whole),) = totals.items()
    assert whole / 2e9 == pytest.approx(300 * 39.499, abs=0.5)
    (account,) = after.gpus.values()
    if job:
        assert after.ledger.jobs["a"].energy_hnj == whole
    else:
        assert account.idle_hnj + account.unattributed_hnj == whole


def test_a_restart_after_a_reboot_continues_totals_but_not_counters(tmp_path):
    before = book(live(10))
    StateFile(tmp_path, "h", "one").save(before, Calibrator(), T0 + 10 * S)
    after = Accounts()
    assert not StateFile(tmp_path, "h", "two").restore(after, Calibrator()).same_boot
    book(live(10, start=30, base=-9_000_000, restart="new-boot"), after)
    (account,) = after.gpus.values()
    (earlier,) = before.gpus.values()
    assert account.energy_hnj / 2e9 == pytest.approx(earlier.energy_hnj / 2e9 + 2700, abs=0.5)
    assert account.totals.resets == 0  # no reset was counted: it was expected


def test_corrupt_books_are_put_aside_and_the_ones_before_serve(tmp_path):
    file = StateFile(tmp_path, "h", "boot")
    accounts = book(live(5))
    file.save(accounts, Calibrator(), 1)
    book(live(5, start=5), accounts)
    file.save(accounts, Calibrator(), 2, final=True)
    path = tmp_path / "state.json"
    whole = path.read_bytes()
    for saved_us in (2, 1):  # with what changed since the one before was written; without it
        path.write_bytes(whole[:-40] + b"x" + whole[-39:])
        after = Accounts()
        found = file.restore(after, Calibrator())
        assert (found.found, found.saved_us, len(found.problems)) == (True, saved_us, 1)
        assert published(after) == published(book(live(10 if saved_us == 2 else 5)))
        assert (tmp_path / "state.json.corrupt").exists()
        (tmp_path / "state.journal.before").unlink(missing_ok=True)


@pytest.mark.parametrize("damaged", ["lines", "ended", "idle_mw", "waiting"])
def test_of_books_that_cannot_be_believed_nothing_is_taken_over(tmp_path, damaged):
    """The checksum is right, so it was another agent that wrote what this one cannot read."""
    file, path = StateFile(tmp_path, "h", "boot"), tmp_path / "state.json"
    file.save(book(live(10, jobs=[("a", 0, 60 * S)])), Calibrator(), 1)
    body = path.read_bytes().partition(b"\n")[2].replace(f'"{damaged}":'.encode(), b'"renamed":')
    path.write_bytes(f"wattshed-state {VERSION} {zlib.crc32(body):08x} {len(body)}\n".encode() + body)
    after, fresh = Accounts(), Accounts()
    assert not file.restore(after, Calibrator()).found
    assert (after.books_of("h"), after.ledger.jobs) == ([], {})
    for accounts in (after, fresh):
        book(live(10, start=30), accounts)
    assert published(after) == published(fresh)


def test_books_and_their_name_are_on_the_disk_before_anything_is_shown(tmp_path, monkeypatch):
    """Else a power cut takes counters back, which Prometheus takes for a reset: the whole total as new energy."""
    done = []
    replace_ = Path.replace
    for name, sync in (("fsync", os.fsync), ("fdatasync", os.fdatasync)):
        note = lambda fd, sync=sync: (done.append(str(Path(f"/proc/self/fd/{fd}").readlink())), sync(fd))
        monkeypatch.setattr(os, name, note)
    monkeypatch.setattr(Path, "replace", lambda a, b: (replace_(a, b), done.append(f"to {b.name}"))[0])
    file = StateFile(tmp_path, "h", "boot")
    whole = [str(tmp_path / "state.fresh"), "to state.json", str(tmp_path)]
    change = [str(tmp_path / "state.journal")]
    for second, expected in enumerate((whole, [*change, str(tmp_path)], change, change)):
        file.save(book(live(5)), Calibrator(), second * S)
        assert done == expected
        done.clear()
    file.save(book(live(5)), Calibrator(), 9 * S, final=True)
    assert done == [*change, *whole, "to state.journal.before"]


def test_a_slow_disk_is_not_waited_for_each_second(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(os, "fsync", waited.append)
    monkeypatch.setattr(os, "fdatasync", waited.append)
    monkeypatch.setattr(state, "SLOW_S", -1.0)
    file = StateFile(tmp_path, "h", "boot")
    with pytest.raises(state.SlowDiskError, match="power cut"):
        file.save(book(live(5)), Calibrator(), 0)
    for second in range(1, 30):
        file.save(book(live(5)), Calibrator(), second * S)
    assert len(waited) == 2  # the file and its name
    with pytest.raises(state.SlowDiskError):
        file.save(book(live(5)), Calibrator(), 30 * S)
    monkeypatch.setattr(state, "SLOW_S", 1.0)
    file.save(book(live(5)), Calibrator(), 31 * S, final=True)
    assert len(waited) == 7  # the journal and its name; the journal, the file and its name
    assert file.restore(Accounts(), Calibrator()).saved_us == 31 * S


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_no_damage_to_the_file_goes_unnoticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("state")
    file = StateFile(folder, "h", "boot")
    file.save(book(live(2)), Calibrator(), 1)
    path = folder / "state.json"
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    accounts = Accounts()
    found = file.restore(accounts, Calibrator())
    # The one harmless flip is in the case of a hexadecimal digit of the checksum itself.
    assert not found.found or published(accounts) == published(book(live(2)))


def test_parts_of_a_trace_merge_to_the_whole():
    jobs = [("a", 0, 30 * S)]
    hosts = {name: list(live(10, jobs=jobs, host=name)) for name in ("x", "y")}
    together = book([*hosts["x"], *hosts["y"]])
    together.finish()
    apart = Accounts()
    for windows in hosts.values():
        part = book(windows)
        part.finish()
        apart.merge(part)
    assert published(apart) == published(together)
    assert apart.ledger.jobs["a"].energy_hnj == together.ledger.jobs["a"].energy_hnj


def test_a_card_is_corrected_by_its_calibration():
    calibrator = Calibrator(corrections={"GPU-0": MeterCorrection(1.05, 2.0, 0.01)})
    plain, corrected = Accounts(), Accounts()
    for one in live(11):
        plain.add(one)
        corrected.add(calibrator.apply(one))
    (a,), (b,) = plain.gpus.values(), corrected.gpus.values()
    assert b.energy_hnj == pytest.approx(a.energy_hnj * 1.05 + 10 * 2 * 2e9, rel=1e-9)
    assert b.device.sigma_gain_ppm == 10_000


def test_a_device_that_comes_late_keeps_the_others_books():
    accounts = book(live(5))
    two = (device(0), device(1))
    for n in range(5, 10):
        t = T0 + n * S
        rows = [[(t + 1000, 300_000, 300_000 * n + 300)], [(t + 1000, 100_000, 7_000 + 100_000 * n)]]
        accounts.add(window(t, t + S, rows, devices=two))
    first, second = accounts.gpus.values()
    assert first.energy_hnj / 2e9 == pytest.approx(2700)
    assert second.energy_hnj / 2e9 == pytest.approx(400)


@pytest.mark.parametrize("counter", [-1, 0])
def test_a_device_that_goes_and_comes_back_begins_anew(counter):
    """Its power before and after is not joined, neither in its energy nor in its quantiles."""
    accounts = Accounts()
    for n, devices in enumerate([(device(0), device(1)), (device(0),), (device(0), device(1))]):
        rows = [[(T0 + n * S + k, 300_000, counter) for k in (0, S // 2)] for _ in devices]
        accounts.add(window(T0 + n * S, T0 + (n + 1) * S, rows, devices=devices))
    accounts.finish()
    stayed, went = accounts.gpus.values()
    assert (stayed.power.total_us(), went.power.total_us()) == (5 * S // 2, S)
    assert went.totals.covered_us == S


def test_the_snapshot_obeys_the_law_and_names_what_is_missing():
    accounts = book(live(8, jobs=[("a", 0, 4 * S)]))
    last = next(iter(live(1, start=8)))
    accounts.add(last)
    publisher = Publisher("h", "1", "nvml", "/lib", T0)
    assert publisher.empty(T0).seq == 0
    shown = publisher.publish(accounts, last, calls={}, late_s=0.0, duty=0.0, faults={})
    (gpu,) = shown.gpus
    assert gpu.energy_hnj == sum(e.static_hnj + e.dynamic_hnj for e in shown.energy)
    assert (gpu.energy_source, gpu.up, gpu.power_w) == ("counter", True, {})
    (job,) = shown.jobs
    assert (job.job, job.method, job.ended_us) == ("a", "alone", T0 + 4 * S)
    assert gpu.peak_w["1s"] == pytest.approx(300)


def test_ramps_and_peaks_of_a_step():
    from wattshed.agent.accounts.statistics import Moving

    moving = Moving()
    for i in range(300):
        for add in (moving.add_power, moving.add_mean):
            add(i * 500_000, 100_000 if i < 200 else 600_000, 5 * S)
    assert moving.peaks_w()["1s"] == pytest.approx(600)
    assert moving.ramps_w_per_s()["1s", "up"] == pytest.approx(500)
    assert moving.ramps_w_per_s()["10s", "up"] == pytest.approx(50)
    assert moving.ramps_w_per_s()["1s", "down"] == 0
    for i in range(300, 440):
        moving.add_power(i * 500_000, 600_000, 5 * S)
    assert moving.ramps_w_per_s()["1s", "up"] == 0  # forgotten after a minute


def test_a_window_of_three_years_is_more_than_int64_holds():
    """An hour between rows, at 20 kW: 1.9e15 J in half-nanojoules, with a job on all of it and without."""
    hours = 3 * 365 * 24
    rows = [(T0 + n * 3_600 * S, 20_000_000, -1) for n in range(hours)]
    one = device(ceiling_mw=20_000_000, limit_mw=-1, max_gap_us=7_200 * S)
    end = rows[-1][0] + 1
    for usage in ((), ((0, "a", T0, end, -1, -1, 1),)):
        accounts = Accounts()
        accounts.add(window(T0, end, [rows], usage, (one,)))
        accounts.finish()
        totals, parts = published(accounts)
        assert list(totals.values()) == [40_000_000 * 3_600 * S * (hours - 1)]
        assert parts == totals
        assert len(accounts.ledger.jobs) == len(usage)


def test_a_stamp_of_another_millennium_bridges_nothing():
    """Ten median periods of a trace with a damaged stamp are centuries; no two readings are that far apart."""
    millennium = 7_000 * 365 * 24 * 3_600 * S
    late = T0 + millennium
    rows = [(T0, 302_250, -1), (late, 301_250, -1), (late + S, 301_250, -1)]
    accounts = Accounts()
    accounts.add(window(T0, late + S, [rows], ((0, "a", late, late + S, -1, -1, 1),), (device(max_gap_us=10**18),)))
    accounts.finish()
    (account,) = accounts.gpus.values()
    assert account.energy_hnj == 2 * 301_250 * S
    assert account.totals.gap_us == millennium


@pytest.mark.parametrize("counts", [True, False])
def test_time_without_an_agent_is_a_gap_where_no_counter_tells_of_it(tmp_path, counts):
    def windows(seconds, start=0, restart=""):
        for one in live(seconds, start=start, restart=restart):
            counter = one.readings.counter_mj if counts else np.full_like(one.readings.counter_mj, -1)
            yield replace(one, readings=replace(one.readings, counter_mj=counter))

    before = book(windows(10))
    file = StateFile(tmp_path, "h", "boot")
    file.save(before, Calibrator(), T0 + 10 * S)
    after = Accounts(live=True)
    assert file.restore(after, Calibrator()).found
    book(windows(10, start=70, restart="same-boot"), after)
    after.finish()
    (account,) = after.gpus.values()
    if counts:
        assert account.energy_hnj == pytest.approx(300 * 79.5 * 2e9, rel=0.01)
        assert gpu_sigma_j(account) == pytest.approx(0.04 * 300 * 79.5, rel=0.05)
    else:
        assert account.totals.gap_us == pytest.approx(60.5 * S, abs=S)
        assert gpu_sigma_j(account) > 300 * 60  # it may have drawn as much as before


@pytest.mark.parametrize(
    ("reason", "shares", "taken"),
    [
        ("function not found (13)", (-1, -1), True),
        ("function not found (13)", (500_000, 500_000), True),
        ("function not found (13)", (300_000, 300_000), False),  # somebody unknown may hold the rest
        ("", (-1, -1), False),  # the lists are told, and empty
    ],
)
def test_holders_of_a_gpu_whose_processes_are_not_told_draw_what_it_draws(reason, shares, taken):
    about, accounts = device(capabilities={"processes": reason}), Accounts()
    for n in range(60):
        t = n * S
        usage = [(0, key, t, t + S, 0, share, 0) for key, share in zip(("slurm:1", "slurm:2"), shares, strict=True)]
        accounts.add(window(t, t + S, [[(t + S // 2, 370_000, 370_000 * n)]], usage, (about,), busy=[800_000]))
    accounts.finish()
    (gpu,) = accounts.gpus.values()
    assert accounts.ledger.jobs.keys() == {"slurm:1", "slurm:2"}
    for job in accounts.ledger.jobs.values():
        (line,) = job.lines.values()
        drawn_j, sigma_j = line.dynamic_hnj / 2e9, job_sigma_j(job, accounts.gpus)
        assert drawn_j == pytest.approx(150 * 59 if taken else 0, rel=0.01)
        if taken:  # whichever of them drew all of it
            assert 1.5 * sigma_j < drawn_j < 2 * sigma_j
    assert (gpu.unattributed_hnj == 0) == taken
