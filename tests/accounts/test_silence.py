"""An outage that is still open: what a page says of a GPU that cannot be read now holds the truth at every moment."""

import itertools

import pytest

from tests.depth import few
from tests.virtual import agent, simulated

LOAD = "[[job]]\nname = '7'\ngpus = [0]\nload = [[1.0, 400.0, 80], [0.5, 100.0, 20]]\n"
NO_COUNTER = "[[gpu]]\nindex = 0\ncounter = false\n"
COUNTER_ALONE = "[[gpu]]\nindex = 0\naverage = false\ninstant = false\n"
FAULTS = {
    "lost": "[[fault]]\nkind = 'gpu-lost'\ngpu = 0\nat_s = {at}\nfor_s = {length}\n",
    "timeout": "[[fault]]\nkind = 'error'\ngpu = 0\nvalue = 10\nat_s = {at}\nfor_s = {length}\n",
    "reload": "[[fault]]\nkind = 'driver-reload'\ngpu = 0\nat_s = {at}\nfor_s = {length}\n",
}

UNREADABLE = "".join(
    "[[fault]]\nkind = 'error'\ngpu = 0\nvalue = 10\ncall = '" + call + "'\nat_s = {at}\nfor_s = {length}\n"
    for call in ("nvmlDeviceGetFieldValues", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage")
)


class Pages:
    """What agents that follow each other publish of GPU 0, window by window."""

    def __init__(self, tmp_path, text):
        script = tmp_path / "scenario.toml"
        script.write_text("gpus = 1\ncycle_s = 3600\n" + text)
        self._path = tmp_path
        self.node, self.clock = simulated(tmp_path, str(script))
        self.shown, self._first_us, self.last = [], None, None

    def live(self, seconds):
        """Let an agent live on; it ends without a word."""
        one = self.last = agent(self.node, self.clock, seconds=seconds, state=self._path / "state")
        show = one.board.show

        def note(snapshot):
            show(snapshot)
            if self._first_us is None:
                self._first_us = one.windows[0].start_us
            true_nj = sum(map(sum, self.node.truth.jobs_nj(self._first_us, snapshot.time_us).values()))
            self.shown.append((true_nj / 1e9, snapshot.gpus[0], snapshot.jobs))

        one.board.show = note
        one.daemon.restore()
        one.daemon.run()
        one.close()
        return self


def check(pages):
    """The truth is within two sigma of what is said, but for the second that readings are late; nothing falls."""
    for true_j, gpu, _ in pages.shown:
        assert abs(true_j - gpu.energy_hnj / 2e9) < 2 * gpu.sigma_j + 5 * 500
    for column in ("gap_us", "energy_hnj"):
        values = [getattr(gpu, column) for _, gpu, _ in pages.shown]
        assert values == sorted(values), column


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("card", few(["", NO_COUNTER, COUNTER_ALONE]))
def test_sigma_and_gap_grow_while_a_gpu_cannot_be_read(tmp_path, fault, card):
    pages = Pages(tmp_path, card + LOAD + FAULTS[fault].format(at=60, length=120)).live(300)
    check(pages)
    during = [(gpu.sigma_j, gpu.gap_us) for _, gpu, _ in pages.shown[75:170]]
    for (sigma, gap), (later_sigma, later_gap) in itertools.pairwise(during):
        assert later_gap - gap == pytest.approx(1e6, abs=1e5)
        assert later_sigma > sigma
    assert pages.shown[-1][1].gap_us == pytest.approx(120e6, abs=70e6)  # a lost one is looked for once a minute
    assert pages.shown[170][1].gap_us <= pages.shown[-1][1].gap_us
    if not card and fault == "timeout":
        assert pages.shown[-1][1].sigma_j < 2_000 + 0.05 * pages.shown[-1][0]  # the counter told it


@pytest.mark.parametrize("card", ["", NO_COUNTER])
def test_an_agent_that_starts_anew_in_an_outage_goes_on_with_it(tmp_path, card):
    pages = Pages(tmp_path, card + LOAD + UNREADABLE.format(at=60, length=180))
    pages.live(120).live(100).live(60)
    check(pages)
    assert pages.shown[-1][1].gap_us > 170e6


def test_a_gpu_that_is_read_late_says_that_the_time_before_is_not_known(tmp_path):
    pages = Pages(tmp_path, LOAD + UNREADABLE.format(at=0, length=100)).live(200)
    known = [gpu for _, gpu, _ in pages.shown if gpu.energy_source != "none"]
    assert 95e6 < known[-1].gap_us < 170e6
    true_j, gpu, _ = pages.shown[-1]
    assert abs(true_j - gpu.energy_hnj / 2e9) < 2 * gpu.sigma_j


def test_a_job_is_no_surer_of_an_open_outage_than_its_gpu(tmp_path):
    pages = Pages(tmp_path, LOAD + FAULTS["timeout"].format(at=60, length=300)).live(200)
    _, gpu, (job,) = pages.shown[-2]
    assert job.sigma_j == pytest.approx(gpu.sigma_j, rel=0.05)
