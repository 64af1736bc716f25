"""A GPU that cannot be read for a while costs its holder nothing: whole agents in virtual time against the truth."""

import itertools
from collections import defaultdict

import pytest

from tests.depth import deep, few
from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.uncertainty import job_sigma_j
from wattshed.agent.meters.errors import MeterError, NoMeter
from wattshed.agent.meters.release import ReleaseDesk
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

ALONE = {
    "slurm": ("slurm:7", 'name = "7"'),
    "docker": ("container:" + "ab" * 6, f'name = "{"ab" * 6}"\nmanager = "docker"'),
    "kubernetes": (
        "k8s:8a6f1c52-53a1-4a0c-9d0e-5f3b7f4f2b10",
        'name = "8a6f1c52-53a1-4a0c-9d0e-5f3b7f4f2b10"\nmanager = "kubernetes"',
    ),
    "user": ("user:1007/train", 'name = "shell"\nmanager = "user"\nuid = 1007\ncommand = "train"'),
}


def container(two):
    """What a job says of itself that is a container of docker; its name is these two digits, again and again."""
    return f'name = "{two * 6}"\nmanager = "docker"'


HEAVY, LIGHT = "load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]", "load = [[1.0, 50.0, 10]]"


def job(text, *, load=HEAVY, start_s=None, end_s=None, gpu=0):
    """One ``[[job]]``; without a start and an end it was there before and never ends."""
    lines = ["[[job]]", text, f"gpus = [{gpu}]", load]
    return (
        "\n".join(lines + [f"{k} = {v}" for k, v in (("start_s", start_s), ("end_s", end_s)) if v is not None]) + "\n"
    )


def fault(kind, at_s, for_s, gpu=0, **keys):
    """One ``[[fault]]``."""
    lines = [f'kind = "{kind}"', f"gpu = {gpu}", f"at_s = {at_s}", f"for_s = {for_s}"]
    return "[[fault]]\n" + "\n".join([*lines, *(f"{k} = {v}" for k, v in keys.items())]) + "\n"


def each(owners=tuple(ALONE), **when):
    """A job of each owner, alone on a GPU of its own: one life shows what holds for each."""
    return "".join(job(ALONE[owner][1], gpu=gpu, **when) for gpu, owner in enumerate(owners))


def on_each(kind, at_s, for_s, owners=tuple(ALONE), **keys):
    """The same fault on the GPU of each of them."""
    return "".join(fault(kind, at_s, for_s, gpu, **keys) for gpu, _ in enumerate(owners))


class Lives:
    """Agents that follow each other on one node, all of them recorded.

    Parameters
    ----------
    tmp_path : Path
    text : str
        The scenario, but for its first lines.
    """

    def __init__(self, tmp_path, text, gpus=2):
        self._path = tmp_path
        script = tmp_path / "scenario.toml"
        script.write_text(f"gpus = {gpus}\ncycle_s = 3600\n" + text)
        self.node, self.clock = simulated(tmp_path, str(script))
        self.begun_us = self.clock.now_us()
        self.desk = ReleaseDesk(self.clock.now_us)
        self._folders = []
        self.last = None
        self.first_us = None

    def live(self, until_s, *, killed=False):
        """Meter until then (seconds since the node began); a kill comes without a word."""
        folder = self._path / f"recording{len(self._folders)}"
        recorder = Recorder(folder, "sim", max_bytes=0, max_age_s=0)
        while True:
            try:
                one = agent(
                    self.node,
                    self.clock,
                    state=self._path / "state",
                    recorder=recorder,
                    keep_us=10**12,
                    desk=self.desk,
                )
                break
            except (NoMeter, MeterError):
                self.clock.sleep_until(self.clock.now_us() + 10_000_000)  # as an agent without a driver does
        self._folders.append(folder)
        one.daemon.restore()
        one.live(self.begun_us + round(until_s * 1e6) - self.clock.now_us(), killed=killed)
        one.close()
        recorder.close()
        assert not one.faults.counts
        self.first_us = self.first_us or one.windows[0].start_us
        self.last = one
        whole, parts = sums(one.accounts)
        assert whole == parts
        return self

    def sleep(self, seconds):
        """No agent runs."""
        self.clock.sleep_until(self.clock.now_us() + round(seconds * 1e6))
        return self

    def truth(self, gpu=0):
        """What each owner drew of a GPU, in J, while the first agent to the last one lived."""
        found = defaultdict(float)
        for (key, where), (static, dynamic) in self.node.truth.jobs_nj(
            self.first_us, self.last.windows[-1].end_us
        ).items():
            if where == gpu:
                found[key.partition("/")[0] if key.startswith("k8s:") else key] += (static + dynamic) / 1e9
        return found

    def sigma(self, key):
        """One sigma of a job's bill, J."""
        return job_sigma_j(self.last.accounts.ledger.jobs[key], self.last.accounts.gpus)

    def billed(self, gpu=0):
        """What the books say of the same; nobody's is under ``None``."""
        books = self.last.accounts
        uuid = self.node.cards[gpu].uuid
        (nobodys,) = [a.unattributed_hnj / 2e9 for key, a in books.gpus.items() if key.gpu == uuid]
        found = {None: nobodys}
        for one in books.ledger.jobs.values():
            for key, line in one.lines.items():
                if key.gpu == uuid:
                    name = one.key.partition("/")[0] if one.key.startswith("k8s:") else one.key
                    found[name] = found.get(name, 0) + (line.static_hnj + line.dynamic_hnj) / 2e9
        return found

    def whole(self, gpu=0):
        """What the books say that a GPU drew, J."""
        uuid = self.node.cards[gpu].uuid
        return next(a.energy_hnj for key, a in self.last.accounts.gpus.items() if key.gpu == uuid) / 2e9

    def bills_each(self, rel, owners=tuple(ALONE)):
        """Assert that each of them (`each`) is billed what it drew."""
        for gpu, owner in enumerate(owners):
            key = ALONE[owner][0]
            assert self.billed(gpu)[key] == pytest.approx(self.truth(gpu)[key], rel=rel), owner

    def replays(self):
        """Assert that the recording says the same, to the last integer."""
        again = Accounts()
        for folder in self._folders:
            options = Options()
            for chain in find([str(folder)], options):
                for window in chain.windows(options):
                    again.add(window)
        again.finish()
        assert bills(again) == bills(self.last.accounts)


@deep
def test_who_held_a_gpu_throughout_an_outage_is_billed_for_it(tmp_path):
    """Outages of four lengths, each of another GPU."""
    lengths_s = (10, 45, 130, 900)
    broken = "".join(fault("error", 100.3, for_s, gpu, value=10) for gpu, for_s in enumerate(lengths_s))
    lives = Lives(tmp_path, each() + broken, gpus=5).live(1060)
    lives.bills_each(0.005)
    lives.replays()


def test_whoever_held_a_gpu_throughout_an_outage_of_several_is_billed_for_it(tmp_path):
    lives = Lives(tmp_path, each() + on_each("error", 100.3, 200, value=10), gpus=5).live(400)
    lives.bills_each(0.005)
    lives.replays()


def test_a_call_that_hangs_for_another_gpu_costs_a_holder_nothing(tmp_path):
    lives = Lives(tmp_path, each() + fault("wedged", 100.3, 40, gpu=4), gpus=5).live(200)
    lives.bills_each(0.005)
    long = max(lives.last.windows, key=lambda one: one.end_us - one.start_us)
    assert not set(long.usage.live.tolist()) & {4}
    lives.replays()


@deep
def test_a_call_that_tells_no_energy_may_fail_for_long(tmp_path):
    """Another call on each GPU."""
    calls = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMemoryInfo")
    owners = ("docker", "kubernetes", "user")
    broken = "".join(fault("error", 100.3, 200, gpu, value=10, call=f'"{call}"') for gpu, call in enumerate(calls))
    lives = Lives(tmp_path, each(owners) + broken, gpus=4).live(360)
    lives.bills_each(0.005, owners)
    lives.replays()


LISTS_FAIL = [
    ("scrambled-pids", {}),
    *(("error", {"value": code, "call": '"nvmlDeviceGetComputeRunningProcesses_v3"'}) for code in (10, 999)),
]


@deep
@pytest.mark.parametrize(("kind", "keys"), few(LISTS_FAIL[::2]))  # another error: test_a_call_that_tells_no_energy_...
@pytest.mark.parametrize("killed", few([True, False]))
def test_a_holder_keeps_its_gpu_while_process_lists_name_nobody(tmp_path, kind, keys, killed):
    lives = Lives(tmp_path, each() + on_each(kind, 100.3, 100, **keys), gpus=5)
    if killed:
        lives.live(140, killed=True).sleep(5)
    lives.live(260)
    lives.bills_each(0.005)
    lives.replays()


@deep
def test_who_comes_and_goes_while_lists_fail_is_named_by_the_drivers_other_lists(tmp_path):
    """Each way of failing on a GPU with accounting and on one without.

    Both jobs draw in proportion to their activity, so that the split tells the truth.
    """
    text, ways = "", list(itertools.product(LISTS_FAIL, (False, True)))
    for gpu, ((kind, keys), accounting) in enumerate(ways):
        text += f"[[gpu]]\nindex = {gpu}\naccounting = {str(accounting).lower()}\n" + fault(
            kind, 100.3, 100, gpu, **keys
        )
        text += job(container(f"a{gpu}"), load="load = [[1.0, 200.0, 40]]", gpu=gpu)
        text += job(container(f"c{gpu}"), load="load = [[1.0, 150.0, 30]]", gpu=gpu, start_s=120, end_s=170)
    lives = Lives(tmp_path, text, gpus=len(ways) + 1).live(260)
    for gpu, way in enumerate(ways):
        truth, billed = lives.truth(gpu), lives.billed(gpu)
        for letter, rel in (("a", 0.01), ("c", 0.05)):
            key = "container:" + f"{letter}{gpu}" * 6
            assert billed[key] == pytest.approx(truth[key], rel=rel), way
    lives.replays()


TWO = ("slurm", "docker")


@pytest.mark.parametrize(
    "broken", few([on_each("gpu-lost", 100.3, 45, TWO), *(fault("driver-reload", 100.3, for_s) for for_s in (4, 60))])
)
def test_what_is_booked_of_a_hole_is_its_holders(tmp_path, broken):
    lives = Lives(tmp_path, each(TWO) + broken, gpus=3).live(300)
    for gpu, owner in enumerate(TWO):
        assert lives.billed(gpu)[ALONE[owner][0]] == pytest.approx(lives.whole(gpu), rel=0.002), owner
    lives.replays()


@deep
def test_a_restart_while_the_driver_is_away_leaves_the_hole_to_its_holder(tmp_path):
    key, text = ALONE["docker"]
    lives = Lives(tmp_path, job(text) + fault("driver-reload", 100.3, 60)).live(120, killed=True).sleep(3).live(300)
    assert lives.billed()[key] == pytest.approx(lives.whole(), rel=0.002)
    lives.replays()


@pytest.mark.parametrize(("dies_s", "down_s"), few([(150, 200), (95, 20), (150, 5), (299, 5), (330, 3)]))
@pytest.mark.parametrize("killed", few([True, False]), ids=["killed", "told to end"])
def test_a_restart_in_or_beside_an_outage_changes_nothing(tmp_path, dies_s, down_s, killed):
    lives = Lives(tmp_path, each(TWO) + on_each("error", 100.3, 200, TWO, value=10), gpus=3)
    lives.live(dies_s, killed=killed).sleep(down_s).live(400)
    lives.bills_each(0.01, TWO)
    lives.replays()


@pytest.mark.parametrize("killed_s", few([125, None, 95, 160, 210]))
def test_of_an_outage_in_which_one_ends_and_another_begins_only_what_is_known_is_billed(tmp_path, killed_s):
    """Slurm tells when each of its jobs began and ended. When a container went nobody saw: nobody is guessed."""
    known = job('name = "7"', load=LIGHT, start_s=10, end_s=150) + job('name = "8"', load=LIGHT, start_s=170, end_s=400)
    unseen = job(container("ab"), start_s=10, end_s=150, gpu=1) + job(container("cd"), start_s=170, end_s=400, gpu=1)
    lives = Lives(tmp_path, known + unseen + on_each("error", 100.3, 130, TWO, value=10), gpus=3)
    if killed_s:
        lives.live(killed_s, killed=True).sleep(5)
    lives.live(420)
    truth, billed = lives.truth(), lives.billed()
    for key in ("slurm:7", "slurm:8"):
        assert billed[key] == pytest.approx(truth[key], rel=0.05), key
    truth, billed = lives.truth(1), lives.billed(1)
    before, after = "container:" + "ab" * 6, "container:" + "cd" * 6
    # What may be the first one's is nobody's, and its sigma says so.
    assert billed[before] < 0.8 * truth[before]
    assert billed[before] == pytest.approx(truth[before], abs=2 * lives.sigma(before))
    # When a process began is known, and who was there before it.
    assert billed[after] == pytest.approx(truth[after], rel=0.03)
    assert billed[after] == pytest.approx(truth[after], abs=2 * lives.sigma(after))
    assert billed[None] > 10_000
    lives.replays()


@deep
@pytest.mark.parametrize("killed_s", few([150, None]))
def test_those_who_shared_a_gpu_share_its_outage(tmp_path, killed_s):
    """Two of Slurm, two containers, a user and a container: each two on a GPU of their own."""
    other = ("container:" + "cd" * 6, f'name = "{"cd" * 6}"\nmanager = "docker"')
    pairs = (
        (ALONE["slurm"], ("slurm:8", 'name = "8"')),
        (ALONE["docker"], ALONE["kubernetes"]),
        (ALONE["user"], other),
    )
    text = ""
    for gpu, (first, second) in enumerate(pairs):
        text += job(first[1], load="load = [[1.0, 300.0, 60]]", gpu=gpu)
        text += job(second[1], load="load = [[1.0, 100.0, 20]]", gpu=gpu)
        text += f'[[gpu]]\nindex = {gpu}\nrows = "interval"\n' + fault("error", 100.3, 200, gpu, value=10)
    lives = Lives(tmp_path, text, gpus=4)
    if killed_s:
        lives.live(killed_s, killed=True).sleep(5)
    lives.live(450)
    for gpu, pair in enumerate(pairs):
        truth, billed = lives.truth(gpu), lives.billed(gpu)
        for key, _ in pair:
            assert billed[key] == pytest.approx(truth[key], rel=0.02), key
    lives.replays()


@pytest.mark.parametrize(
    ("born_s", "dies_s", "down_s"),
    few([(110, 100, 20), (110, 100, 200), (170, 120, 5), (122, 120, 5), (237, 120, 120)]),
)
def test_who_came_while_no_agent_could_look_has_the_gpu_since_its_process_began(tmp_path, born_s, dies_s, down_s):
    """The driver does not answer from second 100 to 230 either, where the agent is up again by then."""
    unscheduled = ("docker", "kubernetes", "user")
    broken = on_each("error", 100.3, 130, unscheduled, value=10) if dies_s > 100 else ""
    lives = Lives(tmp_path, each(unscheduled, start_s=born_s, end_s=2000) + broken, gpus=4)
    lives.live(dies_s, killed=True).sleep(down_s).live(380)
    lives.bills_each(0.01, unscheduled)
    lives.replays()


@pytest.mark.parametrize("owner", few(["docker", "user"]))
def test_a_process_that_is_older_than_the_hole_in_which_it_came_is_billed_for_none_of_it(tmp_path, owner):
    """It was on the other GPU, as far as anybody saw; the owner of the first one is another."""
    (key, text), other = ALONE[owner], job(f'name = "{"ef" * 6}"\nmanager = "docker"', end_s=103, start_s=5)
    lives = Lives(tmp_path, other + job(text, start_s=104, end_s=2000)).live(100, killed=True).sleep(60)
    stat = next(file for file in lives.node.proc_root.glob("[0-9]*/stat") if " (" in file.read_text())
    columns = stat.read_text().split()
    stat.write_text(" ".join([*columns[:21], "1000", *columns[22:]]))  # it began long before
    lives.live(240)
    truth, billed = lives.truth(), lives.billed()
    assert billed[key] < 0.8 * truth[key]
    assert billed[key] == pytest.approx(truth[key], abs=2 * lives.sigma(key))
    lives.replays()


def test_an_agent_that_starts_for_the_first_time_says_nothing_of_the_time_before(tmp_path):
    lives = Lives(tmp_path, each(), gpus=5).sleep(300).live(360)
    jobs = lives.last.accounts.ledger.jobs
    assert len(jobs) == len(ALONE)
    for gpu, (key, _) in enumerate(ALONE.values()):
        (job_,) = (one for one in jobs.values() if one.key.startswith(key))
        (line,) = job_.lines.values()
        assert line.active_us + line.held_us <= 61_000_000
        assert job_.start_us >= lives.first_us - 1_000_000
        assert lives.sigma(job_.key) < 0.05 * lives.billed(gpu)[key]


@pytest.fixture
def paused(tmp_path):
    """Run a scenario with an agent that does not run from second 140.3 to 180.3: SIGSTOP, or a paused machine."""

    def go(text, gpus=2):
        lives = Lives(tmp_path, text, gpus)
        sleep_until, at_us = lives.clock.sleep_until, lives.begun_us + 140_300_000

        def asleep(time_us, stop=None):
            if lives.clock.now_us() < at_us < time_us:
                sleep_until(at_us + 40_000_000)
            sleep_until(time_us, stop)

        lives.clock.sleep_until = asleep
        return lives.live(300)

    return go


def test_of_a_pause_one_window_is_made_that_claims_nobody(paused):
    """What is listed when it is over does not tell who was there in it."""
    two = job(ALONE["docker"][1], start_s=10, end_s=150) + job(f'name = "{"cd" * 6}"\nmanager = "docker"', start_s=170)
    lives = paused(two)
    windows = lives.last.windows
    assert all(a.end_us == b.start_us for a, b in itertools.pairwise(windows))
    (long,) = [w for w in windows if w.end_us - w.start_us > 1_000_000]
    assert long.end_us - long.start_us >= 38_000_000
    assert (len(long.usage.gpu), len(long.readings.time_us), set(long.busy_us.tolist())) == (0, 0, {-1})
    truth, billed = lives.truth(), lives.billed()
    before, after = "container:" + "ab" * 6, "container:" + "cd" * 6
    assert billed[before] < truth[before]
    assert billed[before] == pytest.approx(truth[before], abs=2 * lives.sigma(before))
    assert billed[after] == pytest.approx(truth[after], rel=0.05)  # its process tells when it began
    lives.replays()


@deep
def test_who_held_a_gpu_throughout_a_pause_is_billed_for_it(paused):
    lives = paused(each(), gpus=5)
    lives.bills_each(0.005)
    lives.replays()


@deep
def test_the_holder_answers_in_sigma_for_a_guest_whom_nobody_could_see(tmp_path):
    """The guest came and went while no call was answered, and no scheduler tells of it; its holder's twin has none."""
    steady, text = "load = [[1.0, 200.0, 40]]", ""
    twins = (
        (ALONE["docker"], ("container:" + "ac" * 6, container("ac"))),
        (ALONE["user"], ("user:1008/train", 'name = "shell"\nmanager = "user"\nuid = 1008\ncommand = "train"')),
    )
    for gpu, ((_, holder), (_, alone)) in enumerate(twins):
        text += job(holder, load=steady, gpu=gpu) + job(alone, load=steady, gpu=gpu + 2)
        text += job(container(f"c{gpu}"), load="load = [[1.0, 300.0, 60]]", gpu=gpu, start_s=120, end_s=200)
    lives = Lives(tmp_path, text + on_each("error", 100.3, 130, value=10), gpus=5).live(300)
    for gpu, ((holder, _), (alone, _)) in enumerate(twins):
        off = lives.billed(gpu)[holder] - lives.truth(gpu)[holder]
        assert off > 3 * lives.sigma(alone), "it is billed for what its guest drew"
        assert off < 1.96 * lives.sigma(holder)
        assert lives.sigma(alone) < 0.045 * lives.billed(gpu + 2)[alone]
    lives.replays()
