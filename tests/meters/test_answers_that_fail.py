"""What a driver will not say for a while: what was told before stands, what is told anew counts."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.meters.test_single_answers import Driver
from wattshed.agent.meters.errors import MeterError
from wattshed.agent.meters.instances import PPM, mig_devices
from wattshed.agent.meters.processes import ProcessWatch
from wattshed.agent.window import MISSING

S = 1_000_000
SMS, LANES = 132, {"NVIDIA H100 80GB HBM3": 128, "NVIDIA A100-SXM4-80GB": 64}
ID_CALLS = {"nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId"}
CALLS = sorted(ID_CALLS | {"nvmlDeviceGetUUID", "nvmlDeviceGetAttributes_v2", "nvmlDeviceGetNumGpuCores",
                           "nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetMaxMigDeviceCount"})  # fmt: skip
INSTANCES = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, SMS + 5)), min_size=3, max_size=3)


def watched(model, driver):
    able = {"mig": "", "processes": "", "accounting": "", "process_utilisation": ""}
    return ProcessWatch(driver, SimpleNamespace(handle=None, device=SimpleNamespace(capabilities=able, model=model)))


def listed(watch):
    return mig_devices(watch.nvml, watch.gpu_handle, watch.instances)


def arranged(driver, instances, model, failing=(), code=10):
    """Let the driver tell of these MIG devices (GPU instance, compute instance, SMs), but for the failing calls."""
    told = {
        "nvmlDeviceGetMaxMigDeviceCount": 7,
        "nvmlDeviceGetNumGpuCores": SMS * LANES[model],
        "nvmlDeviceGetMigDeviceHandleByIndex": lambda _, place: place if place < len(instances) else -6,
        "nvmlDeviceGetGpuInstanceId": lambda mig: instances[mig][0],
        "nvmlDeviceGetComputeInstanceId": lambda mig: instances[mig][1],
        "nvmlDeviceGetUUID": lambda mig: f"MIG-{mig}",
        "nvmlDeviceGetAttributes_v2": lambda mig: SimpleNamespace(multiprocessorCount=instances[mig][2]),
    }
    driver.answers = told | dict.fromkeys(failing, -code)


def size(sms):
    return min(PPM, sms * PPM // SMS)


@given(INSTANCES, INSTANCES, st.sets(st.sampled_from(CALLS)), st.sampled_from([3, 10, 999]), st.sampled_from([*LANES]))
def test_an_instance_keeps_what_is_not_told_of_it_and_takes_what_is(before, after, failing, code, model):
    if "nvmlDeviceGetUUID" in failing:  # then it is known by its ids
        failing -= ID_CALLS
        after = [(one[0], one[1], two[2]) for one, two in zip(before, after, strict=True)]
        before = [(place + 1, one[1], one[2]) for place, one in enumerate(before)]
        after = [(place + 1, one[1], two[2]) for place, (one, two) in enumerate(zip(before, after, strict=True))]
    driver = Driver()
    watch = watched(model, driver)
    arranged(driver, before, model)
    watch.instances = listed(watch)
    assert [(one.gi, one.ci, one.ppm, one.uuid, one.place) for one in watch.instances] == [
        (gi, ci, size(sms), f"MIG-{place}", place) for place, (gi, ci, sms) in enumerate(before)
    ]
    arranged(driver, after, model, failing, code)
    found = [(one.gi, one.ci, one.ppm, one.uuid, one.place) for one in listed(watch)]
    whole = failing & {"nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetMaxMigDeviceCount"}
    sizes = whole or failing & {"nvmlDeviceGetNumGpuCores", "nvmlDeviceGetAttributes_v2"}
    assert found == [
        (
            (old if whole or "nvmlDeviceGetGpuInstanceId" in failing else new)[0],
            (old if whole or "nvmlDeviceGetComputeInstanceId" in failing else new)[1],
            size((old if sizes else new)[2]), f"MIG-{place}", place,
        )
        for place, (old, new) in enumerate(zip(before, after, strict=True))
    ]  # fmt: skip


def test_an_instance_that_was_taken_away_is_gone():
    driver, (model, *_) = Driver(), LANES
    watch = watched(model, driver)
    arranged(driver, [(1, 0, 60), (2, 0, 30)], model)
    watch.instances = listed(watch)
    arranged(driver, [(1, 0, 60)], model)
    assert [one.name for one in listed(watch)] == ["1/0"]
    arranged(driver, [], model)
    assert listed(watch) == []
    driver.answers["nvmlDeviceGetMaxMigDeviceCount"] = 0
    assert listed(watch) == [], "none at most is an answer, too"


def accounted(pids, running=()):
    """Accounting that knows these processes; each ran for a second from its pid's second on."""
    stats = lambda _, pid: SimpleNamespace(isRunning=pid in running, startTime=pid * S, time=1000, gpuUtilization=50)
    return {"pids": lambda: [*pids], "nvmlDeviceGetAccountingStats": stats}


@given(st.lists(st.tuples(st.sets(st.integers(1, 6)), st.booleans()), max_size=8))
def test_each_process_that_ended_is_told_once_though_the_driver_does_not_always_answer(story):
    """What was there at the first answer is old; every later one is new once, and again if it went in between."""
    driver = Driver()
    watch, known = watched("NVIDIA H100 80GB HBM3", driver), None
    for pids, answers in story:
        driver.answers = accounted(pids) if answers else {"pids": -10}
        found = watch.ended()
        if not answers:
            assert found == []
            continue
        new = sorted(pids - known) if known is not None else []
        assert found == [(pid, pid * S, pid * S + S, 0.5) for pid in new]
        known = pids


@pytest.mark.parametrize("running", [set(), {4}, {4, 5}])
@pytest.mark.parametrize("ring", [None, [], [(7, 5 * S, 30), (8, 5 * S, 101)]])
def test_others_lists_name_who_was_active_and_who_runs(monkeypatch, running, ring):
    """Rows of the driver's last ten seconds, and accounting; either may say nothing."""
    driver = Driver()
    watch = watched("NVIDIA H100 80GB HBM3", driver)
    driver.process_utilisation = lambda handle, since: driver.ask("rows")
    driver.answers = accounted({4, 5, 6}, running) | {"rows": -10 if ring is None else ring}
    assert set(watch.elsewhere()) == running | ({7} if ring else set())
    driver.answers |= {"pids": -10}
    assert set(watch.elsewhere()) == ({7} if ring else set())
    driver.answers |= {"rows": -15}
    with pytest.raises(MeterError):
        watch.elsewhere()
    driver.answers = accounted({4, 5, 6}, running) | {"rows": [(7, 5 * S, 30)]}
    for name in ("accounting", "process_utilisation"):
        watch.gpu_handle.device.capabilities[name] = "refused"
    assert watch.elsewhere() == {}


def test_a_list_that_fails_for_a_while_keeps_who_is_still_there():
    """Graphics and MPS beside compute: one that will not say now has not emptied."""
    driver = Driver()
    watch = watched("NVIDIA H100 80GB HBM3", driver)
    watch.gpu_handle.device.capabilities.update(mig="off", accounting="off", process_utilisation="off")
    driver.processes = lambda handle, kind: driver.ask(kind)
    driver.answers = {"Compute": [(1, 100, 0, 0)], "Graphics": [(2, 50, 0, 0), (1, 300, 0, 0)], "MPSCompute": -3}
    count, ghosts, error = watch.relist({1, 2, 3}.__contains__)
    assert (count, ghosts, error) == (2, [], None)
    assert {pid: seen.memory_bytes for pid, seen in watch.listed.items()} == {1: 300, 2: 50}
    driver.answers |= {"Graphics": -10, "Compute": [(1, 100, 0, 0), (3, MISSING, 0, 0)]}
    watch.relist({1, 2, 3}.__contains__)
    assert {pid: seen.memory_bytes for pid, seen in watch.listed.items()} == {1: 300, 2: 50, 3: MISSING}
    watch.listed.pop(2)  # whoever was not believed to be there is not brought back
    watch.relist({1, 2, 3}.__contains__)
    assert watch.listed.keys() == {1, 3}
    driver.answers |= {"Compute": -10}
    _, _, error = watch.relist({1, 2, 3}.__contains__)
    assert error.call == "Compute"
    assert watch.listed.keys() >= {1, 3}, "who lives has not left because the driver does not say"
    driver.answers |= {"Compute": -15}
    with pytest.raises(MeterError):
        watch.relist({1, 2, 3}.__contains__)
