"""The numbers that we write ourselves are those of NVIDIA's binding; and how often a driver is asked what it can."""

import ctypes
import itertools
from types import SimpleNamespace

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.accounts.health import POWER_PROFILES
from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters import errors, events, nvml, probe, profiling, sight
from wattshed.agent.meters.errors import Fault, MeterError, fault_of
from wattshed.agent.meters.field_numbers import MOVED, NOW, numbers_of

NOT_OF_GPUS = {"UNKNOWN", "DLA", "DLA2", "NPU3"}


def of_binding(prefix):
    return {name.removeprefix(prefix): number for name, number in vars(pynvml).items() if name.startswith(prefix)}


def test_architectures():
    theirs = of_binding("NVML_DEVICE_ARCH_")
    assert {number: name.upper() for number, name in probe.ARCHITECTURES.items()} == {
        number: name for name, number in theirs.items() if name not in NOT_OF_GPUS
    }


OTHER_LIMITS = sorted({*probe.LIMITS} - {"enforced"})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (probe.ENERGY, "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
        (probe.AVERAGE, "NVML_FI_DEV_POWER_AVERAGE"),
        (probe.INSTANT, "NVML_FI_DEV_POWER_INSTANT"),
        (probe.MEMORY_TEMPERATURE, "NVML_FI_DEV_MEMORY_TEMP"),
        *((probe.LIMITS[name], f"NVML_FI_DEV_POWER_{name.upper()}_LIMIT") for name in OTHER_LIMITS),
        (probe.LIMITS["enforced"], "NVML_FI_DEV_POWER_CURRENT_LIMIT"),
        (probe.POWER_CAPPED, "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP"),
        (NOW.throttle["power_cap"], "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP"),
        (NOW.throttle["sync_boost"], "NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST"),
        (NOW.throttle["sw_thermal"], "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN"),
        (NOW.throttle["hw_thermal"], "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN"),
        (NOW.throttle["power_brake"], "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN"),
        (NOW.shaping["power_smoothing"], "NVML_FI_PWR_SMOOTHING_ENABLED"),
        (NOW.shaping["soc_power_smoothing"], "NVML_FI_PWR_SMOOTHING_SOC_POWER_SMOOTHING_ENABLED"),
        (probe.GPU_SCOPE, "NVML_POWER_SCOPE_GPU"),
        (probe.MODULE_SCOPE, "NVML_POWER_SCOPE_MODULE"),
        (probe.MEMORY_SCOPE, "NVML_POWER_SCOPE_MEMORY"),
        (events.XID, "nvmlEventTypeXidCriticalError"),
        (events.MIG_CONFIG, "nvmlEventMigConfigChange"),
        (errors.SUCCESS, "NVML_SUCCESS"),
        (errors.NOT_SUPPORTED, "NVML_ERROR_NOT_SUPPORTED"),
        (errors.INSUFFICIENT_SIZE, "NVML_ERROR_INSUFFICIENT_SIZE"),
        (errors.FUNCTION_NOT_FOUND, "NVML_ERROR_FUNCTION_NOT_FOUND"),
        (errors.NOT_READY, "NVML_ERROR_NOT_READY"),
        (errors.UNKNOWN, "NVML_ERROR_UNKNOWN"),
    ],
)  # fmt: skip
def test_fields_scopes_events_and_codes(ours, theirs):
    assert ours == getattr(pynvml, theirs)


def test_profiles_of_power_have_the_names_of_the_binding():
    theirs = of_binding("NVML_POWER_PROFILE_")
    theirs = {n: name for name, n in theirs.items() if name != "MAX" and not name.startswith("OPERATION_")}
    assert dict(enumerate(name.upper() for name in POWER_PROFILES)) == theirs


@pytest.mark.parametrize(
    ("driver", "numbers"),
    [("570.172.08", NOW), ("575.51.03", MOVED), ("575.64.05", MOVED), ("580.65.06", MOVED), ("580.82.07", NOW),
     ("580.126.09", NOW), ("590.48.01", NOW), ("615.71", NOW), ("", NOW), ("unknown", NOW)],
)  # fmt: skip
def test_which_drivers_have_other_numbers(driver, numbers):
    assert numbers_of(driver) is numbers


def test_codes_that_have_a_name_are_codes():
    assert errors.NAMES.keys() <= {*of_binding("NVML_ERROR_").values(), pynvml.NVML_SUCCESS}
    assert len({*errors.NAMES.values()}) == len(errors.NAMES)


def test_metrics_of_profiles_and_modes_of_virtualisation():
    metrics = of_binding("NVML_GPM_METRIC_")
    named = {"gr_engine_active": "GRAPHICS_UTIL", "sm_active": "SM_UTIL", "sm_occupancy": "SM_OCCUPANCY",
             "pipe_tensor_active": "ANY_TENSOR_UTIL", "dram_active": "DRAM_BW_UTIL"}  # fmt: skip
    assert {metrics[named[name]]: name for name in named} == profiling.GPM_GAUGES
    modes = of_binding("NVML_GPU_VIRTUALIZATION_MODE_")
    assert sight.GUESTS.keys() == {number for name, number in modes.items() if name not in {"NONE", "PASSTHROUGH"}}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nvml._FIELD, pynvml.c_nvmlFieldValue_t),
        (nvml._PROCESS, pynvml.c_nvmlProcessInfo_v2_t),
        (nvml._UTILISATION, pynvml.c_nvmlProcessUtilizationSample_t),
        (nvml._SAMPLE, pynvml.c_nvmlSample_t),
    ],
)
def test_entries_of_lists_are_as_long_as_the_driver_writes_them(ours, theirs):
    assert ours.size == ctypes.sizeof(theirs)


TYPES = {
    "DOUBLE": ("dVal", [0.5, -1e300]),
    "UNSIGNED_INT": ("uiVal", [0, 2**32 - 1]),
    "UNSIGNED_LONG": ("ulVal", [0, 2**64 - 1]),
    "UNSIGNED_LONG_LONG": ("ullVal", [0, 2**64 - 1]),
    "SIGNED_LONG_LONG": ("sllVal", [-(2**63), -1, 2**63 - 1]),
    "SIGNED_INT": ("siVal", [-(2**31), -1, 2**31 - 1]),
    "UNSIGNED_SHORT": ("usVal", [0, 2**16 - 1]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_is_read_from_the_member_that_its_type_names(kind):
    """Whatever the other bytes of the union hold."""
    kinds = of_binding("NVML_VALUE_TYPE_")
    assert kinds.keys() == {*TYPES, "COUNT"}
    assert kinds["COUNT"] - 1 == nvml._LAST_KIND
    member, values = TYPES[kind]
    for value in values:
        union = pynvml.c_nvmlValue_t()
        union.ullVal = 0xA5A5A5A5A5A5A5A5
        setattr(union, member, value)
        assert nvml._member(kinds[kind], union.ullVal) == value


CODES = st.one_of(st.just(0), st.sampled_from([2, 3, 4, 6, 10, 13, 15, 27, 999, 4711]))


@given(st.lists(CODES, min_size=3, max_size=3), st.sampled_from([1, 3]))
def test_a_no_takes_as_many_refusals_as_it_is_asked_times(codes, tries):
    """Each answer is a code, 0: it works. After an answer nobody asks on; between two questions there is a pause."""
    clock, asked = VirtualClock(), []

    def ask():
        asked.append(clock.now_us())
        if code := codes[len(asked) - 1]:
            raise MeterError("call", code)

    final = [code for code in codes[:tries] if fault_of(code) not in {Fault.OFF, Fault.TRANSIENT} or code == 13][:1]
    count = codes.index(final[0]) + 1 if final else tries
    last = codes[count - 1]
    if last == 15:
        with pytest.raises(MeterError):
            probe.attempt(clock, ask, tries)
    else:
        refused = fault_of(last) is Fault.OFF
        assert probe.attempt(clock, ask, tries) == (f"{errors.NAMES[last]} ({last})" if refused else "")
    pauses = [5_000 if fault_of(code) is Fault.OFF else 50_000 for code in codes[: count - 1]]
    assert [b - a for a, b in itertools.pairwise(asked)] == pauses
    assert len(asked) == count


class Says:
    """A driver that answers every call alike; an error is raised."""

    def __init__(self, answer):
        self.answer = answer

    def ask(self, name, *_):
        if isinstance(self.answer, MeterError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([1, 0], ""),
        ([0, 1], "switched off"),
        (1, ""),
        (0, "switched off"),
        (MeterError("c", 3), "not supported (3)"),
        (MeterError("c", 6), "no answer"),
        (MeterError("c", 999), "no answer"),
    ],
)
@pytest.mark.parametrize("tries", [1, 3])
def test_what_has_a_mode_works_if_it_is_switched_on(answer, reason, tries):
    assert probe._switch(Says(answer), VirtualClock(), None, "nvmlDeviceGetMigMode", tries) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (SimpleNamespace(isSupportedDevice=1), ""),
        (SimpleNamespace(isSupportedDevice=0), "not supported by this GPU"),
        (MeterError("c", 13), "function not found (13)"),
        (MeterError("c", 6), "no answer"),
    ],
)
def test_profiles_are_supported_if_the_driver_says_so(answer, reason):
    assert probe._gpm(Says(answer), VirtualClock(), None, 3) == reason
