"""What jobs used goes into Slurm's accounting once, slowly, and over nobody else's words."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from wattshed.agent.collect.write_back import (
    AT_ONCE,
    IDLE_S,
    Accounted,
    FinishedRun,
    SlurmAccounting,
    WriteBack,
)
from wattshed.agent.errors import Faults
from wattshed.agent.history.sql import DatabaseError

S = 1_000_000
T0 = 1_790_000_000 * S


def run(number, **facts):
    told = {"job": str(number), "cluster": "east", "start_us": T0, "end_us": T0 + 600 * S, "sigma_j": 1e-5}
    return FinishedRun(number, **{**told, "energy_hnj": 7_200_000_000_001, "gpus": 4, "hosts": 2, **facts})


COMMENT = "wattshed:energy_j=3600.0000000005;sigma_j=1e-05;gpus=4;hosts=2"


@dataclass
class Runs:
    """Runs, as a database has them."""

    waiting: dict
    settled: dict = field(default_factory=dict)

    def unwritten(self, after, most):
        return [one for number, one in sorted(self.waiting.items()) if number > after][:most]

    def settle(self, number, outcome):
        del self.waiting[number]
        self.settled[number] = outcome


@dataclass
class Table:
    """Slurm's accounting as a table, with its clock: asking takes no time."""

    jobs: dict
    fails: set = field(default_factory=set)
    down: bool = False
    written: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    now_s: float = 0.0

    def newest(self, cluster, jobs):
        self.asked.append((cluster, tuple(jobs)))
        if self.down:
            raise subprocess.SubprocessError("sacct ended with 1: connection refused")
        return {job: self.jobs[cluster, job] for job in jobs if (cluster, job) in self.jobs}

    def write(self, cluster, name, comment):
        self.written.append((self.now_s, cluster, name, comment))
        if name in self.fails:
            raise subprocess.SubprocessError("sacctmgr ended with 1: Nothing modified")

    def wait(self, seconds):
        self.now_s += seconds
        return False


def row(name, *, submit=T0 - 10 * S, start=T0, end=T0 + 600 * S, comment=""):
    return Accounted(name, submit, start, end, comment)


def made(runs, table, now_us=T0 + 700 * S):
    faults = Faults()
    back = WriteBack(runs, table, faults, table.wait, clock=lambda: now_us / 1e6, monotonic=lambda: table.now_s)
    return back, faults


def test_a_complete_run_is_written_as_sacct_names_it():
    runs = Runs({7: run(7), 9: run(9, cluster="")})
    table = Table({("east", "7"): row("5_3"), ("", "9"): row("9+0")})
    back, faults = made(runs, table)
    assert back.step()
    assert not back.step()
    assert [one[1:] for one in table.written] == [("east", "5_3", COMMENT), ("", "9+0", COMMENT)]
    assert runs.settled == {7: "written", 9: "written"}
    assert back.counts == {"written": 2}
    assert not faults.counts


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (row("7", comment="JS1:H4sIAAAA"), "foreign"),
        (row("7", comment=COMMENT), "written"),
        # The number was submitted again, or another job has it by now.
        (row("7", submit=T0 + 606 * S, start=None, end=None), "older"),
        (row("7", submit=T0 - S, start=T0 + 606 * S, end=T0 + 800 * S), "older"),
        # Not over for Slurm, not there yet, or only the run before is.
        (row("7", end=None), None),
        (row("7", submit=T0 + 30 * S, start=None, end=None), None),
        (None, None),
        (row("7", submit=T0 - 900 * S, start=T0 - 900 * S, end=T0 - 6 * S), None),
    ],
)  # fmt: skip
def test_nothing_is_written_over_what_is_anothers(found, outcome):
    runs, table = Runs({7: run(7)}), Table({("east", "7"): found} if found else {})
    back, _ = made(runs, table)
    back.step()
    assert runs.settled == ({7: outcome} if outcome else {})
    assert not table.written


def test_our_own_words_are_replaced_by_newer_ones():
    runs, table = Runs({7: run(7)}), Table({("east", "7"): row("7", comment="wattshed:energy_j=1;sigma_j=1")})
    made(runs, table)[0].step()
    assert [one[3] for one in table.written] == [COMMENT]


def test_what_slurmdbd_never_heard_of_is_given_up_after_a_week():
    week = 7 * 86_400 * S
    for age, outcome in ((week, {}), (week + 1, {7: "unknown"})):
        runs = Runs({7: run(7)})
        made(runs, Table({}), T0 + 600 * S + age)[0].step()
        assert runs.settled == outcome


def test_no_more_than_five_a_second():
    runs = Runs({number: run(number) for number in range(1, 31)})
    table = Table({("east", str(number)): row(str(number)) for number in range(1, 31)})
    back, _ = made(runs, table)
    back.step()
    times = [one[0] for one in table.written]
    assert len(times) == 30
    assert {round(b - a, 9) for a, b in pairwise(times)} == {0.2}


def test_what_fails_is_counted_and_tried_again_and_keeps_nothing_else_back():
    many = AT_ONCE + 20
    runs = Runs({number: run(number) for number in range(1, many + 1)})
    table = Table({("east", str(number)): row(str(number)) for number in range(1, many + 1)}, {"2", "3"})
    back, faults = made(runs, table)
    while back.step():
        pass
    assert set(runs.waiting) == {2, 3}
    assert faults.counts == {"write_back": 2}
    table.down = True
    assert back.step()
    assert faults.counts == {"write_back": 3}
    table.down, table.fails = False, set()
    assert not back.step(), "the end of this round"
    assert back.step()
    assert back.counts == {"written": many}
    assert not runs.waiting


def test_clusters_are_asked_apart():
    runs = Runs({1: run(1), 2: run(2, cluster="west"), 3: run(3, job="1", cluster="west")})
    table = Table({("east", "1"): row("1"), ("west", "1"): row("1", comment="JS1:x"), ("west", "2"): row("2")})
    made(runs, table)[0].step()
    assert table.asked == [("east", ("1",)), ("west", ("1", "2"))]
    assert runs.settled == {1: "written", 2: "written", 3: "foreign"}


def test_an_end_in_the_middle_writes_no_more():
    runs, table = Runs({1: run(1), 2: run(2)}), Table({("east", str(n)): row(str(n)) for n in (1, 2)})
    ended = iter([False, True])
    back = WriteBack(
        runs, table, Faults(), lambda seconds: next(ended), clock=lambda: T0 / 1e6 + 700, monotonic=lambda: 0.0
    )
    back.step()
    assert (runs.settled, set(runs.waiting)) == ({1: "written"}, {2})


def test_a_database_that_fails_is_asked_again_later():
    class Broken(Runs):
        def unwritten(self, after, most):
            raise DatabaseError("collect.db: database is locked")

    waited, faults = [], Faults()
    WriteBack(Broken({}), Table({}), faults, lambda seconds: bool(waited.append(seconds)) or len(waited) > 5).work()
    assert waited == [0.0, IDLE_S] * 3
    assert faults.counts == {"write_back": 3}


def test_the_comment_survives_sacctmgr():
    """Its 22.05 writes a value in lower case, takes quotes away, and reads commas as the end of one."""
    one = replace(run(7), sigma_j=123456789.0, energy_hnj=10**21)
    assert one.comment == one.comment.lower()
    assert not set(one.comment) & set("\"'`, ")


FAKE = """
import json, sys
table = json.load(open({table!r}))
name, arguments = sys.argv[1], sys.argv[2:]
with open({log!r}, "a") as log:
    log.write(json.dumps([name, *arguments]) + "\\n")
if name == "sacct":
    print(table["answer"], end="")
sys.exit(table.get(name, 0))
"""


def test_the_commands_are_called_and_read_as_slurm_has_them(tmp_path):
    table, log = tmp_path / "table.json", tmp_path / "log"
    lines = [
        "7|7|1790000000|1790000001|1790000601|JS1:a|b",
        "5_[6-9]|5|1790000000|Unknown|Unknown|",
        "5_3|8|1790000000|1790000001|Unknown|",
        "broken",
        "9|9|Unknown|Unknown|Unknown|",
    ]
    table.write_text(json.dumps({"answer": "\n".join(lines) + "\n"}))
    fake = [sys.executable, "-c", FAKE.format(table=str(table), log=str(log))]
    accounting = SlurmAccounting(threading.Event(), [*fake, "sacct"], [*fake, "sacctmgr"])
    found = accounting.newest("east", ["7", "8"])
    at = 1_790_000_000 * S
    assert found == {
        "7": Accounted("7", at, at + S, at + 601 * S, "JS1:a|b"),
        "5": Accounted("5_[6-9]", at, None, None, ""),
        "8": Accounted("5_3", at, at + S, None, ""),
    }
    accounting.write("east", "5_3", COMMENT)
    accounting.write("", "7", COMMENT)
    called = [json.loads(line) for line in log.read_text().splitlines()]
    assert called[0][-2:] == ["--jobs=7,8", "--clusters=east"]
    assert called[1:] == [
        ["sacctmgr", "-i", "modify", "job", "where", "jobid=5_3", "cluster=east", "set", f"AdminComment={COMMENT}"],
        ["sacctmgr", "-i", "modify", "job", "where", "jobid=7", "set", f"AdminComment={COMMENT}"],
    ]
    table.write_text(json.dumps({"answer": "", "sacct": 1}))
    with pytest.raises(subprocess.SubprocessError):
        accounting.newest("east", ["7"])
