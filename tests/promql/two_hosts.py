"""Two hosts for 35 minutes of virtual time: what a real Prometheus would have scraped of them, and what is true.

The truth is in the books of the two daemons, whole half-nanojoules per job, GPU and scrape; that the books are right
is tested elsewhere. On the hosts, and over and over again every ten minutes:

* ``slurm:4001`` runs on both hosts, and every job is gone for minutes before the end of the next cycle;
* ``slurm:4002`` and ``slurm:4003`` share a GPU; 4002's account is not known in its first forty seconds, and 4003's is
  changed while it runs (biology, then chemistry for longer);
* ``slurm:4004`` holds a GPU and does nothing; ``slurm:4005`` is a short job and ``slurm:4006`` shorter than a scrape
  interval; a user without an account, a pod, and a container that is
  beyond the cap on series (``_other``) from the second time on;
* for two minutes nobody can tell who uses a GPU (``_unattributed``);
* one host's agent is killed in the middle, is away for a minute, and goes on from its state file; before that an XID
  error is reported.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from tests.lives import scraped
from tests.virtual import agent
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.formats.prometheus import families
from wattshed.exporters.snapshot import FleetFacts, Snapshot

SCRAPE_S = 15
STEPS_A_SECOND = 10
"""Of the job that runs on both hosts, as it tells on each."""
START_S = 1_767_225_600
LENGTH_S = 2100
END_S = START_S + LENGTH_S
"""The moment at which queries are asked: in the middle of the fourth cycle, whose three predecessors are over."""
RESTART_S = START_S + 900
ACCOUNTS = {"4001": "physics", "4002": "chemistry", "4003": "chemistry", "4004": "physics", "4005": "biology"}
ACCOUNTS["4006"] = "biology"
"""By job of the first cycle; 4003 was biology's for less than half of its life."""
USERS = {"4001": "ada", "4002": "grace", "4003": "alan", "4004": "barbara", "4005": "edsger", "4006": "edsger"}
NAMESPACE = "inference"
POD = "8a6f1c52-53a1-4a0c-9d0e-5f3b7f4f2b10"

BOTH = """
[[job]]
name = "4001"
gpus = {gpus}
start_s = 20
end_s = 470
uid = 1001
load = [[3.0, 60.0, 10], [16.0, 190.0, 98], [4.0, 110.0, 60]]
"""
HOST_A = """
gpus = 3
cycle_s = 600
[[gpu]]
index = [0, 1, 2]
architecture = "hopper"
[[job]]
name = "4002"
gpus = [2]
start_s = 10
end_s = 330
uid = 1002
load = [[2.5, 250.0, 50], [1.0, 60.0, 12], [0.5, 0.0, 0]]
[[job]]
name = "4003"
gpus = [2]
start_s = 95
end_s = 540
uid = 1003
load = [[1.5, 150.0, 30], [0.7, 20.0, 4]]
[[job]]
name = "4005"
gpus = [0]
start_s = 490
end_s = 535
uid = 1005
load = [[2.0, 300.0, 65], [0.3, 40.0, 5]]
[[job]]
name = "4006"
gpus = [0]
start_s = 551
end_s = 559.3
uid = 1005
load = [[1.0, 400.0, 80]]
[[job]]
name = "shell"
manager = "user"
command = "python"
gpus = [1]
start_s = 480
end_s = 590
uid = 1000
load = [[5.0, 120.0, 30], [5.0, 20.0, 5]]
[[fault]]
kind = "scrambled-pids"
gpu = 1
at_s = 1080
for_s = 120
[[fault]]
kind = "xid"
gpu = 1
at_s = 700
value = 31
"""
HOST_B = f"""
gpus = 4
cycle_s = 600
[[gpu]]
index = [0, 1, 2, 3]
architecture = "ampere"
[[job]]
name = "4004"
gpus = [1]
start_s = 5
end_s = 560
uid = 1004
[[job]]
name = "{POD}"
manager = "kubernetes"
container = "server"
gpus = [2]
load = [[7.0, 110.0, 45], [3.0, 40.0, 8], [11.0, 180.0, 70], [4.0, 0.0, 0]]
[[job]]
name = "c0ffee00c0ffee00"
manager = "docker"
gpus = [3]
start_s = 100
end_s = 300
load = [[5.0, 100.0, 40]]
"""


def job_of(key):
    """The job of the first cycle that a key is a repetition of: slurm:4021 is 4001 again."""
    number = key.removeprefix("slurm:")
    return f"400{number[-1]}" if key.startswith("slurm:") else key


@dataclass
class Host:
    """What one host served, and its books at each scrape."""

    instance: str
    offset_s: float
    pages: dict[float, bytes | None] = field(default_factory=dict)
    books: list[tuple[float, dict, dict]] = field(default_factory=list)

    def joules(self, last_s=10**9, until_s=END_S):
        """Joules by (job, GPU) in the last seconds until then, of what had been scraped."""
        return self._apart(1, self._at(until_s - last_s), self._at(until_s))

    def gpu_joules(self, last_s=10**9, until_s=END_S):
        """The same of the GPUs themselves."""
        return self._apart(2, self._at(until_s - last_s), self._at(until_s))

    def watts(self, last_s, until_s=END_S, what=1):
        """Mean power by (job, GPU), or by GPU, between the first and the last scrape of the last seconds."""
        first, last = self._at(until_s - last_s) + 1, self._at(until_s)
        seconds = self.books[last][0] - self.books[first][0]
        return {key: joules / seconds for key, joules in self._apart(what, first, last).items()}

    def peaks(self, what=1, last_s=10**9, until_s=END_S):
        """Highest mean power between two scrapes by (job, GPU), or by GPU (what=2)."""
        found = defaultdict(float)
        for i in range(self._at(until_s - last_s), self._at(until_s)):
            seconds = self.books[i + 1][0] - (self.books[i][0] if i >= 0 else START_S)
            for key, joules in self._apart(what, i, i + 1).items():
                found[key] = max(found[key], joules / seconds)
        return found

    def _apart(self, what, first, last):
        then = self.books[first][what] if first >= 0 else {}
        return {key: (hnj - then.get(key, 0)) / 2e9 for key, hnj in self.books[last][what].items()}

    def _at(self, time_s):
        """The place of the last scrape until then, -1 if there was none."""
        return sum(at <= time_s for at, _, _ in self.books) - 1


class Books:
    """Adds up what every job was billed for, over its series' ends and its host's restarts."""

    def __init__(self):
        self.total, self._last = defaultdict(int), {}

    def take(self, accounts):
        now = {(job, key.gpu): static + dynamic for job, key, static, dynamic in accounts.ledger.shares()}
        for key, account in accounts.gpus.items():
            now["_idle", key.gpu], now["_unattributed", key.gpu] = account.idle_hnj, account.unattributed_hnj
        for one, hnj in now.items():
            before = self._last.get(one, 0)
            self.total[one] += hnj - before if hnj >= before else hnj  # its account was closed, and opened again
        self._last = now


def labelled(resolve, clock):
    """Change what is known about owners, as a slow queue, a pod's manager and `scontrol update` do."""

    def with_labels(*arguments):
        owners, usage = resolve(*arguments)
        into_s = (clock.now_us() / 1e6 - START_S) % 600
        return tuple(replace(owner, labels=_labels(owner, into_s)) for owner in owners), usage

    return with_labels


def _labels(owner, into_s):
    job, labels = job_of(owner.key), dict(owner.labels)
    if job == "4002" and into_s < 50:
        labels = {"manager": "slurm"}
    if job == "4003":
        labels["account"] = "biology" if into_s < 150 else "chemistry"
    if job in ("4005", "4006"):
        labels["array"] = f"77_{job[-1]}"
    if owner.key.startswith("k8s:"):
        labels["namespace"] = NAMESPACE
    return labels


def live(home, instance, offset_s, script, *, cap, restart, marked=False, length_s=LENGTH_S):
    """Let a host live for 35 minutes; scrape it every 15 s."""
    host, books, writers = Host(instance, offset_s), Books(), {}

    def begin(node, clock):
        named = instance.partition(":")[0]
        one = agent(node, clock, state=home / "state", cap=cap, host=named, marked=marked, inbox=True)
        one.resolver.resolve = labelled(one.resolver.resolve, clock)
        return one

    def step(one):
        one.daemon.step()
        books.take(one.accounts)
        seen = one.windows[-1] if one.windows else None
        for place in set(seen.usage.owner.tolist()) if seen is not None else ():
            if job_of(seen.owners[place].key) == "4001":
                one.inbox.add(seen.owners[place], "steps", STEPS_A_SECOND, seen.end_us)

    count = int((length_s - offset_s) // SCRAPE_S)
    times_s = [START_S + offset_s + number * SCRAPE_S for number in range(1, count + 1)]
    restart_s = RESTART_S if restart else None
    for at_s, one in scraped(home, script, times_s, begin, restart_s=restart_s, step=step):
        if one is None:
            host.pages[at_s] = None
            continue
        assert not one.faults.counts
        snapshot = one.board.current()
        begun = b"process_start_time_seconds %.1f\n" % (snapshot.started_us / 1e6)
        writer = writers.setdefault(snapshot.started_us, Writer(openmetrics=True, on_fault=fail))
        page = writer.write(snapshot, families(snapshot))
        host.pages[at_s] = page.replace(b"# EOF", begun + b"# EOF")  # the server adds what is its process's
        gpus = {key.gpu: account.energy_hnj for key, account in one.accounts.gpus.items()}
        host.books.append((at_s, dict(books.total), gpus))
    return host


def fail(name, error):
    raise AssertionError(name) from error


def two_hosts(home):
    """Let both hosts live; gives them."""
    a = live(home / "a", "a:9961", 3.2, HOST_A + BOTH.format(gpus=[0, 1]), cap=100, restart=True)
    b = live(home / "b", "b:9961", 9.7, HOST_B + BOTH.format(gpus=[0]), cap=5, restart=False)
    return a, b


def simulated_host(home):
    """A simulated node that is scraped beside them: its job 4001 is nobody's."""
    script = "gpus = 1\ncycle_s = 600\n" + BOTH.format(gpus=[0])
    return live(home / "c", "c:9961", 5.1, script, cap=9, restart=False, marked=True)


def fleet_host():
    """What `wattshed fleet serve` shows of ten hosts of which nine report: 1000 W, 900 to 1100."""
    power = {("gpu", "mean"): 1000.0, ("gpu", "lower"): 900.0, ("gpu", "upper"): 1100.0}
    return _served(
        "fleet:9962",
        lambda at_s: Snapshot(
            "fleet",
            "test",
            "fleet",
            "",
            1,
            round(at_s * 1e6),
            START_S * 1_000_000,
            fleet=FleetFacts(
                power,
                {"gpu": 1000.0 * (at_s - START_S)},
                {("gpu", "15m"): 1050.0},
                10,
                9,
                (),
                {"gpu": 1200.0},
                states={"busy": 7, "idle": 2, "off": 0, "down": 1},
            ),
        ),
    )


def unmetered_host():
    """A host that serves, and whose driver is away."""
    return _served("d:9961", lambda at_s: Snapshot("d", "test", "nvml", "", 0, round(at_s * 1e6), START_S * 1_000_000))


def _served(instance, snapshot_at):
    host, writer = Host(instance, 1.1), Writer(openmetrics=True, on_fault=fail)
    for number in range(LENGTH_S // SCRAPE_S):
        at_s = START_S + host.offset_s + number * SCRAPE_S
        snapshot = snapshot_at(at_s)
        host.pages[at_s] = writer.write(snapshot, families(snapshot))
    return host


def write(server, ruler, *hosts, length_s=LENGTH_S):
    """Write what was scraped, and evaluate the rules, in the order of time."""
    scrapes = sorted((at_s, i) for i, host in enumerate(hosts) for at_s in host.pages)
    for second in range(START_S, START_S + length_s + 1, SCRAPE_S):
        while scrapes and scrapes[0][0] <= second:
            at_s, i = scrapes.pop(0)
            page = hosts[i].pages[at_s]
            target = {"job": "wattshed", "instance": hosts[i].instance, "stratum": "test"}
            server.scrape(at_s, page if page is None else page.decode(), **target)
        ruler.evaluate(second)
