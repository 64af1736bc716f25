"""From measured GPUs to a fleet: estimates with intervals, simulated fleets, public claims computed anew."""

from wattshed.agent.library.fleet import estimate, scenario, scenarios, simulate

__all__ = ["estimate", "scenario", "scenarios", "simulate"]
