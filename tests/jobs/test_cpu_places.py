"""Which cgroups and processes count the CPU time of jobs, from window to window."""

from types import SimpleNamespace

from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.cpu_places import CpuPlace, CpuPlaces
from wattshed.agent.window import JobKey, Owner

JOB = "0::/system.slice/slurmstepd.scope/job_4/step_{}/user/task_0"
SESSION = "0::/user.slice/user-1000.slice/session-3.scope"
SLURMD = "0::/system.slice/slurmd.service"
A, B = JobKey("slurm:4"), JobKey("slurm:5")


class Known:
    """Stands for the processes of a host."""

    def cgroup(self, process):
        """Return what its cgroup file says."""
        return process.text


def process(pid, text):
    return SimpleNamespace(key=("boot", pid, 10 * pid), pid=pid, identity=identify(text), text=text)


def found(*present, holders=None, places=None):
    rows = [(one, Owner(JobKey(key))) for one, key in present]
    return (places or CpuPlaces(Known())).find(rows, holders or {owner.key for _, owner in rows})


def test_all_steps_of_a_job_are_one_counter():
    assert found((process(1, JOB.format(0)), A), (process(2, JOB.format("batch")), A)) == [
        CpuPlace(A, "/system.slice/slurmstepd.scope/job_4")
    ]


def test_programs_of_a_session_count_each_for_itself():
    one, two = "user:1000/python", "user:1000/bash"
    assert found((process(1, SESSION), one), (process(2, SESSION), two)) == [
        CpuPlace(two, "", 2, 20),
        CpuPlace(one, "", 1, 10),
    ]


def test_a_service_in_which_jobs_run_is_no_jobs():
    assert found((process(1, SLURMD), A)) == [CpuPlace(A, "", 1, 10)]
    assert found((process(1, SLURMD), "unit:slurmd.service")) == [
        CpuPlace("unit:slurmd.service", "/system.slice/slurmd.service")
    ]


def test_a_cgroup_with_two_owners_is_neithers():
    both = (process(1, JOB.format(0)), A), (process(2, JOB.format(1)), B)
    assert found(*both) == [CpuPlace(A, "", 1, 10), CpuPlace(B, "", 2, 20)]


def test_a_job_without_a_process_on_a_gpu_counts_as_long_as_it_holds_one():
    places = CpuPlaces(Known())
    first = found((process(1, JOB.format(0)), A), places=places)
    assert places.find([], {A}) == first
    assert places.find([], set()) == []
    assert places.find([], {A}) == []


def test_who_holds_nothing_has_no_counter():
    assert found((process(1, JOB.format(0)), A), holders={B}) == []


def test_counters_have_numbers_of_their_own():
    places = [CpuPlace(A, "/a"), CpuPlace(A, "/b"), CpuPlace(A, "", 1, 2), CpuPlace(A, "", 1, 3)]
    assert len({place.counter for place in places}) == 4
    assert CpuPlace(B, "/a").counter == places[0].counter
