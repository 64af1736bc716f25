"""The ring of power samples may grow between the binding's two calls."""

from types import SimpleNamespace

import pynvml

from tests.gpu.kit.card import PowerSamples
from tests.virtual import simulated
from wattshed.agent.meters.nvml import Nvml

S = 1_000_000


def test_a_sample_that_comes_between_the_two_calls_loses_no_reading(tmp_path, monkeypatch):
    script = tmp_path / "s.toml"
    script.write_text("gpus = 1\n")
    node, clock = simulated(tmp_path, str(script))
    Nvml(clock, node.library).open()
    samples = PowerSamples(SimpleNamespace(handle=pynvml.nvmlDeviceGetHandleByIndex(0)))
    samples.read()
    clock.sleep_until(clock.now_us() + S)
    before, real, waits = len(samples.found), pynvml._nvmlGetFunctionPointer, [True]

    def pointer(name):
        call = real(name)

        def between(*args):
            code = call(*args)
            if name == "nvmlDeviceGetSamples" and args[-1] is None and waits:
                waits.pop()
                clock.sleep_until(clock.now_us() + 150_000)
            return code

        return between

    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", pointer)
    samples.read()
    assert not waits
    assert len(samples.found) > before, samples.codes
    stamps = [stamp for stamp, _ in samples.found]
    assert stamps == sorted(set(stamps))
