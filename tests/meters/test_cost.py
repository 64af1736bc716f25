"""What metering costs: processor time of everything but the simulated driver, for eight GPUs at the default rates."""

import time

from tests.virtual import agent, simulated
from wattshed.agent.meters.lines import Rates
from wattshed.agent.simulation.driver import SimulatedLibrary


def test_eight_gpus_cost_at_most_half_a_percent_of_a_core(tmp_path, monkeypatch):
    """Sampler, resolver, books and publisher together, window after window; the driver's own time is taken off."""
    inside, answering = [0], SimulatedLibrary.answering

    def weighed(self, name, function):
        call = answering(self, name, function)

        def weighing(*arguments):
            begun = time.thread_time_ns()
            try:
                return call(*arguments)
            finally:
                inside[0] += time.thread_time_ns() - begun

        return weighing

    monkeypatch.setattr(SimulatedLibrary, "answering", weighed)
    node, clock = simulated(tmp_path)
    one = agent(node, clock, rates=Rates(burst_us=0))

    def live(windows):
        for _ in range(windows):
            one.daemon.step()

    live(30)  # compiles the kernels
    costs = []
    for _ in range(5):  # the best of five: other work on the machine only adds
        begun, before = time.thread_time_ns(), inside[0]
        live(40)
        costs.append((time.thread_time_ns() - begun - (inside[0] - before)) / 40e9)
    one.close()
    assert min(costs) <= 0.005, costs  # CPU seconds per second
