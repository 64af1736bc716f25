"""A history beside a state that is lost, older, or of another host: nothing counts twice, and no job runs for ever."""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from tests.accounts.test_cuts import not_cut, seconds
from tests.daemon.test_history_feed import Life, in_history
from wattshed.agent.wire.parts import END, END_UNKNOWN

JOBS = [("a", 0, 0, 60), ("b", 1, 3, 17), ("c", 1, 20, 70), ("d", 0, 26, 27)]


def lived(life, windows):
    for window in windows:
        life.take(window)
        life.written()
    return life


def ends(folder):
    """Of each job and store: its end, and the flags of its parts, of which none may be less than nothing."""
    with closing(sqlite3.connect(folder / "history.db")) as connection:
        ((bad,),) = connection.execute(
            "SELECT count(*) FROM part WHERE static_j < 0 OR static_j + dynamic_j < 0 OR to_us < from_us"
        )
        assert not bad
        rows = connection.execute("SELECT key, store, end_us, flags FROM job WHERE substr(key, 1, 1) <> '_'")
        return {(key, store): (end_us, flags) for key, store, end_us, flags in rows}


def test_a_lost_state_leaves_no_job_running_for_ever(tmp_path):
    windows = list(seconds(JOBS))
    lived(Life(tmp_path), windows[:30]).die()
    before = ends(tmp_path)
    assert before["a", 1] == (-1, 0)
    for name in ("state.json", "state.journal"):
        (tmp_path / name).unlink()
    life = lived(Life(tmp_path), windows[30:])
    life.end(windows[-1].end_us)
    after = ends(tmp_path)
    assert {job for job, store in after if store == 2} == {"a", "c"}
    for job in ("a", "c"):
        end_us, flags = after[job, 1]
        assert end_us <= windows[29].end_us
        assert flags & (END | END_UNKNOWN) == END | END_UNKNOWN
        assert after[job, 2][0] > windows[30].end_us
    assert after["b", 1] == before["b", 1]
    assert not after["b", 1][1] & END_UNKNOWN


@pytest.mark.parametrize("lost", [1, 3, 9])
def test_a_state_that_is_older_than_the_history(tmp_path, lost):
    """What was written meanwhile is booked again from the counter, and is not written again.

    But for a job that came and went meanwhile: the accounts never heard of it, and its joules are somebody else's too.
    """
    windows = list(seconds(JOBS))
    life = lived(Life(tmp_path), windows[:22])
    for name in ("state.json", "state.journal"):
        shutil.copy(tmp_path / name, tmp_path / f"kept {name}")
    lived(life, windows[22 : 22 + lost])
    life.die()
    written = in_history(tmp_path)
    shutil.copy(tmp_path / "kept state.json", tmp_path / "state.before")
    shutil.copy(tmp_path / "kept state.journal", tmp_path / "state.journal.before")
    (tmp_path / "state.json").write_text("torn")
    (tmp_path / "state.journal").unlink()
    life = lived(Life(tmp_path), windows[22 + lost :])
    life.end(windows[-1].end_us)
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        ((of_d,),) = connection.execute(
            "SELECT static_r + dynamic_r + (static_j + dynamic_j) * 2000000000 FROM job WHERE key = 'd'"
        )
    kept, left = in_history(tmp_path), not_cut(life.accounts, life.feed.cuts)
    for key, account in life.accounts.gpus.items():
        assert kept[key.gpu] >= written[key.gpu]
        unheard = of_d if key.gpu == "GPU-0" and lost == 9 else 0
        assert kept[key.gpu] + left[key.gpu] == account.energy_hnj + unheard
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        assert connection.execute("SELECT count(*) FROM store").fetchone() == (1,)
    assert Counter(job for job, _ in ends(tmp_path)) == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_the_state_of_another_host_beside_a_history(tmp_path):
    """A copied disk: that state is not taken over, and what follows goes into a store of its own."""
    windows = list(seconds(JOBS))
    lived(Life(tmp_path, host="other"), windows[:20]).die()
    before = in_history(tmp_path)
    life = lived(Life(tmp_path), windows[20:])
    life.end(windows[-1].end_us)
    kept, left = in_history(tmp_path), not_cut(life.accounts, life.feed.cuts)
    for key, account in life.accounts.gpus.items():
        assert kept[key.gpu] - before[key.gpu] + left[key.gpu] == account.energy_hnj
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        stores = connection.execute("SELECT host FROM store ORDER BY id").fetchall()
    assert stores == [("other",), ("h",)]


def test_a_history_that_is_switched_off_and_on_again_ends_no_job_that_runs_for_good(tmp_path):
    windows = list(seconds(JOBS))
    lived(Life(tmp_path), windows[:12]).die()
    off = Life(tmp_path, history=False)
    for window in windows[12:24]:
        off.take(window)
    life = lived(Life(tmp_path), windows[24:])
    life.end(windows[-1].end_us)
    after = ends(tmp_path)
    assert after["b", 1][1] & END_UNKNOWN, "it ended while nobody kept a history"
    assert after["a", 1][1] & END_UNKNOWN
    assert after["a", 2][0] >= windows[58].end_us
    assert not after["a", 2][1] & END_UNKNOWN
