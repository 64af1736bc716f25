"""What shapes a GPU's power beside its load: smoothing and workload profiles; and field numbers that moved."""

import math

import pytest

from wattshed.agent.accounts.health import power_flags
from wattshed.agent.meters.schedule import Rates

BLACKWELL = '[[gpu]]\narchitecture = "gb200"\n'
ASK = "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles"
SEEN_EVERY_SECOND = Rates(learn_us=0, gauges_us=1_000_000)


def shown(rig, windows):
    """Return the gauges of the first GPU that have a value at the end."""
    last = windows[-1]
    return {name: values[0] for name, values in last.gauges.items() if not math.isnan(values[0])}


def test_what_is_in_force_is_told_and_then_not_any_more(rig):
    node = rig(BLACKWELL + "power_smoothing = true\npower_profiles = [6, 1, 254]\n")
    gauges = shown(rig, node.run(6))
    assert power_flags(gauges) == (
        "power_smoothing", "power_profile_max_q", "power_profile_llm_inference", "power_profile_254"
    )  # fmt: skip
    (card,) = node.node.cards
    card.power_smoothing, card.power_profiles = False, (6,)
    assert power_flags(shown(rig, node.run(6))) == ("power_profile_llm_inference",)
    card.power_profiles = ()
    gauges = shown(rig, node.run(6))
    assert power_flags(gauges) == ()
    assert gauges["power_smoothing"] == 0, "it can, and is off"
    assert node.sampler.calls()[ASK].counts[-1] <= 4, "with the slow readings only"


@pytest.mark.parametrize("text", ["", BLACKWELL], ids=["an older board", "an older driver"])
def test_a_gpu_that_has_no_profiles_is_asked_once(rig, text):
    node = rig(f'missing = ["{ASK}"]\n' * bool(text) + "gpus = 1\n" + text, plain=False, rates=SEEN_EVERY_SECOND)
    gauges = shown(rig, node.run(8))
    assert not [name for name in gauges if name.startswith("power_profile")]
    assert node.sampler.calls()[ASK].counts[-1] == 1


def test_a_gpu_that_is_lost_while_it_is_asked_is_lost(rig):
    fault = f'[[fault]]\nkind = "error"\nvalue = 15\ncall = "{ASK}"\nat_s = 3\n'
    node = rig(BLACKWELL + fault, rates=SEEN_EVERY_SECOND)
    node.run(6)
    (lost,) = node.events("lost")
    assert ASK in lost.detail


@pytest.mark.parametrize("driver", ["575.57.08", "580.65.06", "580.82.07", "590.48.01", "999.99"])
@pytest.mark.parametrize("architecture", ["hopper", "gb200"])
def test_throttle_times_and_switches_are_not_mistaken_for_each_other(rig, driver, architecture):
    text = f'driver = "{driver}"\n[[gpu]]\narchitecture = "{architecture}"\npower_smoothing = true\n'
    node = rig("gpus = 1\n" + text, plain=False, rates=SEEN_EVERY_SECOND)
    (card,) = node.node.cards
    card.throttled_ns = {74: 1_000_000_000, 269: 2_500_000_000, 270: 4_000_000_000, 271: 1}
    gauges = shown(rig, node.run(3))
    times = {name: gauges[f"throttle_{name}_s"] for name in ("power_cap", "sw_thermal", "hw_thermal", "power_brake")}
    assert times == {"power_cap": 1.0, "sw_thermal": 2.5, "hw_thermal": 4.0, "power_brake": 1e-9}
    assert power_flags(gauges) == (("power_smoothing",) if architecture == "gb200" else ())
