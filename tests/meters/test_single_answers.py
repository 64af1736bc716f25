"""What each single answer of a driver becomes: units, garbage, refusals, and who is taken for gone."""

from types import SimpleNamespace

import pytest

from wattshed.agent.meters import facts, probe
from wattshed.agent.meters.errors import NAMES, Fault, MeterError, fault_of, name_of
from wattshed.agent.meters.gauges import BOUNDS, MODULE_W, SHORTEST_LIFE_US, Gauges
from wattshed.agent.meters.plan import INT32_MAX, INT64_MAX, counter_of, limit_of, milli
from wattshed.agent.meters.process_rows import ProcessRow, credible
from wattshed.agent.meters.processes import ProcessWatch
from wattshed.agent.meters.profiling import GPM_GAUGES, SHORTEST_US, Profile
from wattshed.agent.meters.scope import LEAST_APART, LEAST_APART_AT_ONCE, Moment, at_once, verdict
from wattshed.agent.meters.sight import HOST_NAMESPACE, guests, own_namespace

S = 1_000_000


class Driver:
    """Answers by call, or by (call, first argument); a number below zero is that error."""

    def __init__(self, fields=(), **answers):
        self.answers, self.told, self.asked = answers, dict(fields), []
        self.costs = SimpleNamespace(last_ns=0)

    def ask(self, name, *args):
        self.asked.append((name, *args))
        answer = self.answers.get(name, -3)
        if callable(answer):
            answer = answer(*args)
        if isinstance(answer, int) and answer < 0:
            raise MeterError(name, -answer)
        return answer

    def ask_or(self, default, name, *args):
        try:
            return self.ask(name, *args)
        except MeterError:
            return default

    def fields(self, handle, wanted):
        return [self.told.get(number, (3, 0)) for number, _ in wanted]

    def accounting_pids(self, handle):
        return self.ask("pids")


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Fault.NOTHING, {0, 6}),
        (Fault.OFF, {2, 3, 4, 13, 25, 26}),
        (Fault.LOST, {15, 16, 28}),
        (Fault.DRIVER, {1, 9, 12}),
        (Fault.RESTART, {18}),
    ],
)
def test_what_is_to_be_done_about_each_code(fault, codes):
    assert {code for code in [*range(40), 999, 4711] if fault_of(code) is fault} == codes
    for code in codes:
        error = MeterError("nvmlCall", code)
        assert (error.call, error.code, error.fault) == ("nvmlCall", code, fault)
        assert str(error) == f"nvmlCall: {NAMES[code]} ({code})"


def test_codes_that_nobody_knows_yet_are_tried_again():
    assert fault_of(4711) is Fault.TRANSIENT
    assert name_of(4711) == "error 4711"


@pytest.mark.parametrize(
    ("value", "mw"),
    [(0, 0), (0.9, 0), (1, 1), (300_000.7, 300_000), (INT32_MAX, INT32_MAX), (2**40, INT32_MAX), (-0.1, -1),
     (float("nan"), -1),
     (float("inf"), -1)],
)  # fmt: skip
def test_milliwatts_fit_their_column(value, mw):
    assert milli(value) == mw


@pytest.mark.parametrize(
    ("value", "mj"),
    [(0, -1), (1, 1), (5.9, 5), (INT64_MAX, INT64_MAX), (2**63, -1), (-1, -1), (float("nan"), -1), (float("inf"), -1)],
)
def test_a_counter_is_positive_and_fits_its_column(value, mj):
    assert counter_of(value) == mj


def test_the_largest_limit_is_asked_for_as_a_field_and_else_by_a_call():
    field = Driver({probe.LIMITS["max"]: (0, 700_000)})
    call = Driver(nvmlDeviceGetPowerManagementLimitConstraints=[100_000, 650_000])
    assert limit_of(field, None, {"limits": "", "fields": ""}) == 700_000
    assert limit_of(call, None, {"limits": "", "fields": ""}) == 650_000
    assert limit_of(call, None, {"limits": "", "fields": "no"}) == 650_000
    assert limit_of(Driver(), None, {"limits": "", "fields": ""}) == -1
    assert limit_of(call, None, {"limits": "no", "fields": ""}) == -1


def test_gauges_have_the_unit_of_their_name():
    driver = Driver(
        {190: (0, 400_000), 188: (0, 700_000), 187: (0, 0), 192: (3, 5), 82: (0, 77)},
        nvmlDeviceGetTemperature=61,
        nvmlDeviceGetClockInfo=lambda handle, domain: {1: 1_980, 2: 2_619}[domain],
        nvmlDeviceGetEnforcedPowerLimit=123_000,
    )
    found = facts.gauges(driver, None, {"fields": ""}, {})
    assert found == {
        "limit_enforced_w": 400.0, "limit_max_w": 700.0, "memory_temperature_c": 77, "temperature_c": 61,
        "sm_clock_mhz": 1_980, "mem_clock_mhz": 2_619,
    }  # fmt: skip
    assert ("nvmlDeviceGetTemperature", None, 0) in driver.asked
    old = facts.gauges(driver, None, {"fields": "no"}, {})
    assert (old["limit_enforced_w"], "memory_temperature_c" in old) == (123.0, False)
    assert facts.gauges(Driver(), None, {"fields": ""}, {}) == {}


@pytest.mark.parametrize(("value", "told"), [(0, {"a": 0}), (1, {"a": 1}), (2, {}), (2_500_000_000, {}), (-1, {})])
def test_a_switch_is_on_or_off_and_else_not_a_switch(value, told):
    assert facts.gauges(Driver({251: (0, value)}), None, {"fields": ""}, {"a": 251, "b": 300}) == told


def test_memory_is_in_mib():
    told = SimpleNamespace(used=3 << 30, free=5 << 20, total=7 << 20)
    found = facts.memory(Driver(nvmlDeviceGetMemoryInfo=told), None)
    assert found == {"fb_used_mib": 3_072, "fb_free_mib": 5, "fb_total_mib": 7}
    assert facts.memory(Driver(), None) == {}


@pytest.mark.parametrize(
    ("gpu", "copy", "names"), [(0, 100, {"gpu_util", "mem_copy_util"}), (101, 3, {"mem_copy_util"}), (-1, 101, set())]
)
def test_utilisation_is_a_percentage(gpu, copy, names):
    driver = Driver(nvmlDeviceGetUtilizationRates=SimpleNamespace(gpu=gpu, memory=copy))
    found = facts.utilisation(driver, None, {"utilisation": ""})
    assert set(found) == names
    assert all(found[name] == value for name, value in (("gpu_util", gpu), ("mem_copy_util", copy)) if name in names)
    assert facts.utilisation(driver, None, {"utilisation": "refused"}) == {}


@pytest.mark.parametrize("code", range(30))
def test_only_a_gpu_or_driver_that_is_gone_is_an_error_of_a_gauge(code):
    gone = fault_of(code) in {Fault.LOST, Fault.DRIVER, Fault.RESTART}
    for ask in (
        lambda: facts.memory(Driver(nvmlDeviceGetMemoryInfo=-code), None),
        lambda: facts.raise_if_down([(0, 1.0), (code, 0.0)]),
    ):
        if gone:
            with pytest.raises(MeterError):
                ask()
        elif code:
            assert not ask()


@pytest.mark.parametrize("name", [*BOUNDS, "limit_enforced_w", "power_module_w", "throttle_power_cap_s"])
def test_each_gauge_has_bounds_that_are_still_believed(name):
    gauges = Gauges(lambda: 1_050_000)
    most = {"limit_enforced_w": 1_050.0, "power_module_w": MODULE_W, "throttle_power_cap_s": 1e30}
    least, most = BOUNDS.get(name, (0.0, most.get(name)))
    assert gauges.sane(name, most)
    assert gauges.sane(name, least) == (not name.endswith("_w"))
    assert not gauges.sane(name, least - 0.001)
    assert gauges.sane(name, most * 1.001) == (name == "throttle_power_cap_s")


@pytest.mark.parametrize(("period_us", "life_us"), [(S, SHORTEST_LIFE_US), (2 * S, 5 * S), (4 * S, 10 * S)])
def test_a_gauge_lives_for_two_and_a_half_periods(period_us, life_us):
    gauges = Gauges(lambda: 1_000_000)
    gauges.renew("a", {"temperature_c": 50}, 100, period_us)
    gauges.renew("b", {"gpu_util": 5}, 100, 100 * S)
    assert set(gauges.at(100 + life_us)) == {"temperature_c", "gpu_util"}
    assert set(gauges.at(101 + life_us)) == {"gpu_util"}
    with pytest.raises(ZeroDivisionError), gauges.asking("b", "c"):
        raise ZeroDivisionError
    assert gauges.at(100) == {"temperature_c": 50}
    gauges.clear()
    assert gauges.at(100) == {}


def test_of_rows_of_one_sample_the_credible_ones_are_kept():
    told = [
        (7, 100, 50),
        (7, 100, 60),
        (8, 100, 100),
        (9, 100, 101),
        (7, 99, 10),
        (0, 100, 5),
        (7, 101, 0),
        (6, 100, -1),
    ]
    found = credible([ProcessRow(*row) for row in told], 99)
    assert [row[:3] for row in found] == [(7, 100, 60), (7, 101, 0), (8, 100, 100)]


def test_accounting_tells_of_each_process_once_when_it_ended():
    stats = {
        1: SimpleNamespace(isRunning=0, startTime=5 * S, time=2_000, gpuUtilization=40),
        2: SimpleNamespace(isRunning=1, startTime=6 * S, time=0, gpuUtilization=10),
    }
    driver = Driver(pids=lambda: list(stats), nvmlDeviceGetAccountingStats=lambda handle, pid: stats[pid])
    board = SimpleNamespace(handle=None, device=SimpleNamespace(capabilities={"accounting": "", "mig": "no"}))
    watch = ProcessWatch(driver, board)
    assert watch.ended() == [], "what ended before is only noted"
    assert watch.ended() == []
    stats[2] = SimpleNamespace(isRunning=0, startTime=6 * S, time=1_500, gpuUtilization=100)
    stats[3] = SimpleNamespace(isRunning=0, startTime=7 * S, time=10, gpuUtilization=101)
    stats[4] = SimpleNamespace(isRunning=0, startTime=8 * S, time=0, gpuUtilization=1)
    stats[5] = -3
    assert watch.ended() == [(2, 6 * S, 6 * S + 1_500_000, 1.0), (3, 7 * S, 7 * S + 10_000, -1.0)]
    assert watch.ended() == []
    del stats[1]
    assert watch.ended() == []
    stats[1] = SimpleNamespace(isRunning=0, startTime=9 * S, time=1, gpuUtilization=0)
    assert watch.ended() == [(1, 9 * S, 9 * S + 1_000, 0.0)], "a pid that went and came is another process"
    board.device.capabilities["accounting"] = "off"
    assert watch.ended() == []


class Gpm:
    """Two sample buffers; a metric is what is told for the instance."""

    def __init__(self, values):
        self.values, self.refilled, self.code = values, [], 0

    def gpm_sample(self, handle, gi):
        return f"old{gi}"

    def ask(self, name):
        return "spare"

    def gpm_refill(self, handle, spare, gi):
        if self.code:
            raise MeterError("nvmlGpmSampleGet", self.code)
        self.refilled.append((spare, gi))

    def gpm_metrics(self, older, newer, metrics):
        gi = self.refilled[-1][1]
        return {m: self.values[gi][m] for m in metrics if m in self.values[gi]}


def test_profiles_are_ratios_between_two_samples_a_tenth_of_a_second_apart():
    values = {-1: {1: 50.0, 2: 25.0, 10: 12.5}, 3: {2: 40.0}, 4: {2: 180.0, 5: 30.0}, 5: {2: -3.0}, 6: {}}
    gpm = Gpm(values)
    profile = Profile(gpm)
    assert profile.read(None, {3, 4, 5, 6}, S) == ({}, {})
    assert profile.read(None, {3, 4, 5, 6}, S + SHORTEST_US - 1) == ({}, {})
    gauges, busy = profile.read(None, {3, 4, 5, 6}, S + SHORTEST_US)
    assert gauges == {GPM_GAUGES[1]: 0.5, GPM_GAUGES[2]: 0.25, GPM_GAUGES[10]: 0.125}
    assert busy == {3: (0.4, -1, -1), 4: (1.0, 0.3, -1), 5: (0.0, -1, -1)}
    assert [spare for spare, _ in gpm.refilled] == ["spare"] * 5
    gpm.refilled.clear()
    profile.read(None, {3}, S + 2 * SHORTEST_US)
    assert gpm.refilled == [("old-1", -1), ("old3", 3)], "the two buffers take turns"
    gpm.code = 3
    assert profile.read(None, {3}, S + 3 * SHORTEST_US) == ({}, {})
    gpm.code = 15
    with pytest.raises(MeterError):
        profile.read(None, {3}, S + 4 * SHORTEST_US)


@pytest.mark.parametrize(
    ("rate", "found"),
    [(100, "gpu"), (133, "gpu"), (134, ""), (166, ""), (167, "module"), (233, "module"), (234, ""), (66, "")],
)
def test_a_counter_is_whose_rate_is_within_a_third(rate, found):
    assert verdict(rate, 100, 200) == found


@pytest.mark.parametrize("apart", [LEAST_APART, LEAST_APART_AT_ONCE])
def test_powers_that_are_close_tell_nothing(apart):
    assert verdict(1_000, 1_000 * (1 - apart) - 1, 1_000, apart) == "module"
    assert verdict(1_000, 1_000 * (1 - apart) + 1, 1_000, apart) == ""
    assert verdict(1_149, 0, 1_000) == verdict(851, 0, 1_000) == "module"
    assert verdict(1_151, 0, 1_000) == verdict(849, 0, 1_000) == ""


def test_two_readings_tell_it_if_they_are_half_a_second_apart_and_steady():
    def moments(us=500_000, mj=150, instant=300_000, reset=0):
        return Moment(S, 1_000 + reset, 300_000, 300_000, 600_000), Moment(
            S + us, 1_000 + mj, 300_000, instant, 600_000
        )

    assert at_once(*moments(mj=150_000)) == ("gpu", 300_000.0, 300_000.0, 600_000.0)
    assert at_once(*moments(mj=300_000))[0] == "module"
    assert at_once(*moments(us=499_999, mj=150_000)) == ("", 0.0, 0.0, 0.0)
    assert at_once(*moments(mj=150_000, reset=150_001)) == ("", 0.0, 0.0, 0.0)
    assert at_once(*moments(mj=150_000, instant=500_001))[0] == "", "a load that moves"


def test_whose_processes_are_listed(tmp_path):
    link = tmp_path / "pid"
    assert "cannot be read" in own_namespace(link)
    link.symlink_to(HOST_NAMESPACE)
    assert own_namespace(link) == ""
    other = tmp_path / "other"
    other.symlink_to("pid:[4026532000]")
    assert "PID namespace of its own" in own_namespace(other)
    assert [bool(guests(Driver(nvmlDeviceGetVirtualizationMode=mode), None)) for mode in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert guests(Driver(), None) == ""


def test_codes_are_those_of_the_binding():
    import pynvml

    codes = {getattr(pynvml, name) for name in dir(pynvml) if name.startswith("NVML_ERROR_")} | {pynvml.NVML_SUCCESS}
    assert set(NAMES) <= codes
    assert len(set(NAMES.values())) == len(NAMES)
    named = {"NOT_SUPPORTED": "not supported", "GPU_IS_LOST": "GPU is lost", "UNINITIALIZED": "uninitialized"}
    assert {name: NAMES[getattr(pynvml, f"NVML_ERROR_{name}")] for name in named} == named
