"""Where the CPU time of jobs is counted, and what is read there; of this machine's own cgroups too."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wattshed.agent.clock import RealClock, VirtualClock
from wattshed.agent.errors import Faults
from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.cpu_places import CpuPlace, job_cgroup
from wattshed.agent.jobs.cpu_times import CpuClock, PassingFiles, count_cpus
from wattshed.agent.window import NO_CPU_TIMES, JobKey

POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice"
SCOPE = f"cri-containerd-{'ab' * 32}.scope"
A = JobKey("slurm:4")


class Files(dict):
    """Files by path; one that is an error raises it."""

    def read(self, path):
        """Return what a file says."""
        found = self.get(path, FileNotFoundError(errno.ENOENT, "gone"))
        if isinstance(found, Exception):
            raise found
        return found.encode()


def clock_of(tmp_path, **files):
    """A reader of these files under virtual time."""
    known = Files({"devices/system/cpu/online": "0-3\n", **files})
    reader = CpuClock(known, tmp_path, VirtualClock(), faults := Faults())
    reader.start()
    return reader, faults


@pytest.mark.parametrize(
    ("text", "cgroup"),
    [
        ("0::/system.slice/slurmstepd.scope/job_4/step_0/user/task_0", "/system.slice/slurmstepd.scope/job_4"),
        ("5:memory:/slurm/uid_9/job_4/step_0\n4:cpu,cpuacct:/slurm/uid_9/job_4", "/slurm/uid_9/job_4"),
        (f"0::{POD}/{SCOPE}", f"{POD}/{SCOPE}"),
        (f"0::/system.slice/docker-{'cd' * 32}.scope/inner", f"/system.slice/docker-{'cd' * 32}.scope"),
        ("0::/system.slice/train.service/below", "/system.slice/train.service"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope", ""),
        ("0::/../../system.slice/train.service", ""),
        ("0::/", ""),
    ],
)
def test_the_cgroup_of_a_job_is_the_shortest_that_names_it(text, cgroup):
    assert job_cgroup(text, identify(text)) == cgroup


def test_the_first_reading_says_how_many_cpus_there_are(tmp_path):
    reader, _ = clock_of(tmp_path)
    assert (found := reader.collect()).cpus == 4
    assert found.counters == ()
    assert reader.collect() == NO_CPU_TIMES


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ({"fs/cgroup/job_4/cpu.stat": "usage_usec 12345678\nuser_usec 1\n"}, [12345678]),
        ({"fs/cgroup/cpuacct/job_4/cpuacct.usage": "12345678999\n"}, [12345678]),
        ({"fs/cgroup/unified/job_4/cpu.stat": "usage_usec 5\n"}, [5]),
        ({"fs/cgroup/job_4/cpu.stat": OSError(errno.ENODEV, "gone")}, []),
        ({}, []),
        ({"fs/cgroup/job_4/cpu.stat": "user_usec 1\n"}, []),
        ({"fs/cgroup/job_4/cpu.stat": "usage_usec -1\n"}, []),
        ({"fs/cgroup/job_4/cpu.stat": "usage_usec 9999999999999999999\n"}, []),
        ({"fs/cgroup/cpuacct/job_4/cpuacct.usage": "nan\n"}, []),
    ],
)
def test_counters_of_cgroups(tmp_path, files, used):
    reader, faults = clock_of(tmp_path, **files)
    reader.ask([CpuPlace(A, "/job_4")])
    assert [one.used_us for one in reader.collect().counters] == used
    assert not faults.counts


def test_what_may_not_be_read_is_a_fault_and_no_reading(tmp_path):
    reader, faults = clock_of(tmp_path, **{"fs/cgroup/job_4/cpu.stat": PermissionError(errno.EACCES, "denied")})
    reader.collect()
    reader.ask([CpuPlace(A, "/job_4")])
    assert reader.collect() == NO_CPU_TIMES
    assert faults.counts == {"cpu-times": 1}


def test_a_process_counts_as_long_as_it_is_the_same(tmp_path):
    (tmp_path / "7").mkdir()
    numbers = [0] * 50
    numbers[11], numbers[12], numbers[19] = 150, 50, 4711
    (tmp_path / "7/stat").write_text(f"7 (a ) b) {' '.join(map(str, ['S', *numbers[1:]]))}\n")
    reader, _ = clock_of(tmp_path)
    reader.ask([CpuPlace(A, "", 7, 4711), CpuPlace(A, "", 7, 4712), CpuPlace(A, "", 8, 1)])
    (only,) = reader.collect().counters
    assert only.used_us == 200 * S // os.sysconf("SC_CLK_TCK")


S = 1_000_000


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-3", 4), ("0-3,8,10-11\n", 7)])
def test_lists_of_cpus(text, count):
    assert count_cpus(text) == count


@pytest.mark.parametrize("text", ["", "x", "3-0", "0-99999999"])
def test_what_is_no_list_of_cpus(text):
    with pytest.raises(ValueError, match=r"CPU|invalid literal"):
        count_cpus(text)


def test_a_file_that_hangs_holds_nobody_up(tmp_path):
    let_go = threading.Event()

    class Hanging(Files):
        def read(self, path):
            if path.endswith("cpu.stat"):
                let_go.wait(30)
            return super().read(path)

    reader = CpuClock(Hanging({"devices/system/cpu/online": "0-3\n"}), tmp_path, RealClock(), Faults())
    reader.start()
    try:
        reader.ask([CpuPlace(A, "/job_4")])
        begun_s = time.monotonic()
        reader.collect()
        reader.ask([])
        reader.close()
        assert time.monotonic() - begun_s < 20
    finally:
        let_go.set()


BUSY = "import time; a = time.process_time()\nwhile time.process_time() - a < 0.2: pass\nprint(1, flush=True); input()"


@pytest.fixture
def real_cgroup():
    """A cgroup of this machine that counts CPU time: its folder, and its path."""
    path = f"/wattshed-test-{os.getpid()}"
    for root, file in (("", "cpu.stat"), ("/unified", "cpu.stat"), ("/cpuacct", "cpuacct.usage")):
        folder = Path(f"/sys/fs/cgroup{root}{path}")
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / file).exists():
                yield folder, path
                if folder.exists():
                    folder.rmdir()
                return
            folder.rmdir()
    pytest.skip("needs a cgroup hierarchy below /sys/fs/cgroup that this user may make cgroups in")


def readings(reader, places, *, counters):
    """Ask until there is a reading with so many counters."""
    ends_s = time.monotonic() + 10
    while time.monotonic() < ends_s:
        reader.ask(places)
        time.sleep(0.01)
        if (found := reader.collect()).cpus and len(found.counters) == counters:
            return found
    raise AssertionError(f"never {counters} counters")


def test_a_real_cgroup_and_a_real_process(real_cgroup):
    """Its counter and its process's agree; once it is gone there is no reading of it."""
    folder, path = real_cgroup
    reader = CpuClock(PassingFiles(Path("/sys")), Path("/proc"), RealClock(), faults := Faults())
    reader.start()
    try:
        with subprocess.Popen(["sh", "-c", 'read x; exec "$0" "$@"', sys.executable, "-c", BUSY], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # fmt: skip
            (folder / "cgroup.procs").write_text(str(child.pid))
            ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
            places = [CpuPlace(A, path), CpuPlace(A, "", child.pid, ticks)]
            before = readings(reader, places, counters=2)
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "1\n"
            after = readings(reader, places, counters=2)
            child.stdin.write("\n")
        used = [b.used_us - a.used_us for a, b in zip(before.counters, after.counters, strict=True)]
        assert all(one > 0.18 * S for one in used)
        assert abs(used[0] - used[1]) < 0.1 * max(used) + 30_000  # a process counts in ticks of 10 ms
        assert before.cpus == os.cpu_count()
        folder.rmdir()
        assert readings(reader, places, counters=0).counters == ()
    finally:
        reader.close()
    assert not faults.counts
