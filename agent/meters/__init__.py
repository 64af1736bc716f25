"""Meters: where readings come from (NVML or its simulation), and the loop that takes them."""
