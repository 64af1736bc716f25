"""The mapping directory: dcgm-exporter's format, exact edges, and nobody believed but root."""

from __future__ import annotations

import os
import time

import pytest

from wattshed.agent.jobs import mapping
from wattshed.agent.jobs.mapping import MappingDirectory


def now():
    return time.time_ns() // 1000


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "map"
    made.mkdir(mode=0o755)
    return made


def write(folder, name, text, at_s=None):
    """As a prolog does: a new file, renamed into place."""
    part = folder / f".{name}.new"
    part.write_text(text)
    part.chmod(0o644)
    if at_s is not None:
        os.utime(part, (at_s, at_s))
    part.rename(folder / name)


def open_holds(directory):
    return sorted((h.index, h.instance, h.job) for h in directory.holds(0, 1 << 60) if h.end_us is None)


def test_files_and_lines(folder):
    directory = MappingDirectory(folder, now)
    write(folder, "0", "12\n13\n\n12\n")
    write(folder, "1.3", "14\n")
    for name in ("notes", ".hidden", "1.3.4", "-1", "99999"):
        write(folder, name, "77\n")
    write(folder, "2", "bad name!? \x00\n" + "x" * 100 + "\n9_3\n")
    directory.scan()
    assert open_holds(directory) == [(0, "", "12"), (0, "", "13"), (1, "3", "14"), (2, "", "9_3")]
    assert directory.changes == 4


def test_names_by_uuid_and_lines_with_a_user(folder):
    directory = MappingDirectory(folder, now)
    write(folder, "GPU-0b1c2d3e-0000-4000-8000-000000000001", "12 1001\n")
    write(folder, "MIG-265a219d-a49f-578a-825d-222c72699c16", "13\t1002\r\n\r\n# by the prolog\r\n")
    write(folder, "1", "14 4294967294\n15 4294967295\n")
    directory.scan()
    found = sorted((h.uuid[:5], h.index, h.job, h.uid) for h in directory.holds(0, 1 << 60))
    assert found == [("", 1, "14", 4294967294), ("GPU-0", -1, "12", 1001), ("MIG-2", -1, "13", 1002)]
    assert directory.refused == 1


@pytest.mark.parametrize(
    "line", ["12,13", "12 alice", "12 1001 x", "12 -1", "12\x0b13", "\ufeff12", "12;", "12 1001 1002"]
)
def test_a_line_that_is_no_job_id_is_refused_and_said_once(folder, line, caplog):
    directory = MappingDirectory(folder, now)
    for turn in range(2):
        write(folder, "0", f"11\n{line}\n", time.time() - 10 + turn)
        directory.scan()
    assert open_holds(directory) == [(0, "", "11")]
    assert directory.refused == 2
    assert len([r for r in caplog.records if "/0:2:" in r.getMessage()]) == 1


@pytest.mark.parametrize(
    ("name", "line", "held"),
    [
        ("9999", "a" * 64, True), ("10000", "12", False), ("0", "a" * 65, False),
        ("1.999", "12", True), ("1.1000", "12", False),
        ("GPU-" + "a" * 64, "12", True), ("GPU-" + "a" * 65, "12", False), ("MIG-" + "a" * 64, "12", True),
        ("0", "12 4294967294", True), ("0", "12 4294967295", False), ("0", "12 00000000001", False),
    ],
)  # fmt: skip
def test_names_ids_and_users_at_their_limits(folder, name, line, held):
    directory = MappingDirectory(folder, now)
    write(folder, name, f"{line}\n")
    directory.scan()
    assert [h.job for h in directory.holds(0, 1 << 60)] == ([line.split()[0]] if held else [])


def test_a_hold_that_is_over_is_known_for_ten_minutes(folder):
    clock = [5_000]
    directory = MappingDirectory(folder, lambda: clock[0] * 1_000_000, at_us=lambda ns: ns // 1000)
    write(folder, "0", "12\n", 5_000)
    directory.scan()
    (folder / "0").unlink()
    os.utime(folder, (5_010, 5_010))
    assert directory.scan() == 2
    for at, known in ((5_609, True), (5_610, True), (5_611, False)):
        clock[0] = at
        directory.scan()
        assert [h.end_us for h in directory.holds(0, 1 << 60)] == ([5_010_000_000] if known else [])


def test_holds_are_told_for_any_stretch_that_they_touch(folder):
    directory = MappingDirectory(folder, lambda: 5_010, at_us=lambda ns: ns // 1_000_000_000)
    write(folder, "0", "12\n", 5_000)
    write(folder, "1", "13\n", 5_000)
    directory.scan()
    (folder / "0").unlink()
    os.utime(folder, (5_010, 5_010))
    directory.scan()

    def told(start, end):
        return sorted(h.job for h in directory.holds(start, end))

    assert told(4_000, 5_000) == told(4_000, 4_999) == []
    assert told(4_000, 5_001) == told(5_009, 5_010) == ["12", "13"]
    assert told(5_010, 5_011) == ["13"]
    directory.holds(0, 9_999)[0].job = "0"  # copies
    assert told(0, 9_999) == ["12", "13"]


def test_what_was_written_of_jobs_that_are_gone_is_forgotten_when_it_is_much(folder, monkeypatch):
    monkeypatch.setattr(mapping, "_MOST_LABELS", 2)
    (folder / "jobs").mkdir()
    clock = [now()]
    directory = MappingDirectory(folder, lambda: clock[0])
    for job in ("1", "2", "3"):
        (folder / f"jobs/{job}").write_text(f"user=u{job}\n")
        write(folder, "0", f"{job}\n")
        directory.scan()
        if job == "2":
            clock[0] += 3_600_000_000  # the first is long over
            directory.scan()
            assert directory.labels("1") == {"user": "u1"}
    assert [directory.labels(job) for job in ("1", "2", "3")] == [{}, {"user": "u2"}, {"user": "u3"}]


def test_of_a_thousand_bad_lines_a_hundred_are_said_and_all_are_counted(folder, caplog):
    directory = MappingDirectory(folder, now)
    write(folder, "0", "".join(f"{i} x y\n" for i in range(1000)) + "12\n")
    directory.scan()
    assert directory.refused == 1000
    assert len(caplog.records) == 100
    assert open_holds(directory) == [(0, "", "12")]


@pytest.mark.parametrize(
    ("job", "labels", "uid", "key", "manager"),
    [
        ("12[3].pbs-1.x", {}, -1, "pbs:12[3].pbs-1.x", "pbs"),
        ("f0Ab", {}, -1, "job:f0Ab", "mapping"),  # F58 has no 0
        ("12_3", {}, -1, "job:12_3", "mapping"),
        ("12", {"manager": "lsf", "node": "n1", "user": "ada"}, -1, "lsf:12", "lsf"),
        ("x", {"manager": "Not a word"}, -1, "job:x", "mapping"),
        ("12", {"uid": "5"}, 1000, "slurm:12", "slurm"),
        ("12", {}, 0, "slurm:12", "slurm"),
    ],
)
def test_whose_a_job_id_is(job, labels, uid, key, manager):
    owner = mapping.owner_of(job, labels, uid)
    wanted = {label: value for label, value in labels.items() if label not in {"manager", "node"}}
    if uid >= 0:
        wanted.setdefault("uid", str(uid))
    assert (owner.key, owner.labels) == (key, {**wanted, "manager": manager})


def test_a_hold_that_is_older_than_its_file(folder):
    """After a start the prolog's own file tells since when: the GPU's was rewritten when another job came or went."""
    (folder / "jobs").mkdir()
    (folder / "jobs/12").write_text("uid=1000\n")
    os.utime(folder / "jobs/12", (time.time() - 100, time.time() - 100))
    directory = MappingDirectory(folder, now)
    write(folder, "0", "12\n13\n", time.time() - 5)
    directory.scan()
    ages = {hold.job: round((now() - hold.start_us) / 1e6) for hold in directory.holds(0, 1 << 60)}
    assert ages == {"12": 100, "13": 5}


def test_edges_are_the_times_of_the_files(folder):
    directory = MappingDirectory(folder, now)
    started = time.time() - 5
    write(folder, "0", "12\n", started)
    directory.scan()
    assert abs(directory.holds(0, 1 << 60)[0].start_us - started * 1e6) < 50_000
    (folder / "0").unlink()
    gone = time.time() - 2
    os.utime(folder, (gone, gone))
    directory.scan()
    (hold,) = directory.holds(0, 1 << 60)
    assert abs(hold.start_us - started * 1e6) < 50_000
    assert abs(hold.end_us - gone * 1e6) < 50_000


def test_one_of_two_jobs_leaves(folder):
    directory = MappingDirectory(folder, now)
    write(folder, "0", "12\n13\n")
    directory.scan()
    left = time.time() + 0.01
    write(folder, "0", "13\n", left)
    time.sleep(0.02)
    directory.scan()
    assert open_holds(directory) == [(0, "", "13")]
    assert [h.job for h in directory.holds(0, 1 << 60) if h.end_us is not None] == ["12"]
    assert directory.holds(now(), now() + 1)[0].job == "13"


def test_labels_of_the_prolog_are_escaped_and_cut(folder):
    (folder / "jobs").mkdir()
    (folder / "jobs/12").write_text(
        "user=alice\nuid=1000\nname=" + "\x1b[31m" + "y" * 300 + "\nBAD=1\n=2\nno line\naccount=\n"
    )
    directory = MappingDirectory(folder, now)
    write(folder, "0", "12\n")
    directory.scan()
    labels = directory.labels("12")
    assert labels.keys() == {"user", "uid", "name"}
    assert labels["name"].startswith("\\x1b[31my")
    assert len(labels["name"]) == 120
    assert directory.labels("13") == {}


def test_a_missing_directory_holds_nothing(tmp_path):
    directory = MappingDirectory(tmp_path / "none", now)
    assert directory.scan() == 0
    (tmp_path / "none").mkdir(mode=0o755)
    write(tmp_path / "none", "0", "5\n")
    assert directory.scan() == 1


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_directory_that_anybody_may_write_is_not_believed(folder, mode):
    write(folder, "0", "12\n")
    folder.chmod(mode)
    directory = MappingDirectory(folder, now)
    with pytest.raises(PermissionError, match="chmod go-w"):
        directory.scan()
    assert directory.holds(0, 1 << 60) == []


def test_files_of_others_links_and_pipes_are_not_believed(folder, tmp_path):
    write(folder, "0", "12\n")
    (folder / "0").chmod(0o666)
    with pytest.raises(PermissionError):
        MappingDirectory(folder, now).scan()
    (folder / "0").unlink()
    (tmp_path / "mine").write_text("13\n")
    (folder / "1").symlink_to(tmp_path / "mine")
    with pytest.raises(PermissionError, match=f"^{folder}/1 does not belong in a mapping directory$"):
        MappingDirectory(folder, now).scan()
    (folder / "1").unlink()
    os.mkfifo(folder / "2")
    with pytest.raises(PermissionError, match=f"^{folder}/2 does not belong in a mapping directory$"):
        MappingDirectory(folder, now).scan()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_an_ordinary_user_is_not_believed(folder):
    os.chown(folder, 12345, 12345)
    with pytest.raises(PermissionError):
        MappingDirectory(folder, now).scan()


def test_a_prolog_that_writes_in_place_is_not_seen_half_way(folder):
    directory = MappingDirectory(folder, now)
    write(folder, "0", "12\n")
    directory.scan()
    (folder / "0").write_text("")
    directory.scan()
    assert open_holds(directory) == [(0, "", "12")]
    (folder / "0").write_text("12\n13\n")
    wait_for_scan(directory, [(0, "", "12"), (0, "", "13")])
    assert [h for h in directory.holds(0, 1 << 60) if h.end_us is not None] == []
    (folder / "0").write_text("")
    wait_for_scan(directory, [])


def wait_for_scan(directory, wanted):
    until = time.monotonic() + 5
    while open_holds(directory) != wanted:
        assert time.monotonic() < until
        time.sleep(0.02)
        directory.scan()
