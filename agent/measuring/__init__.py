"""Joules of the process itself: what `wattshed.measure` does. It loads no arrays, and little of the agent."""
