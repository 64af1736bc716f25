"""Numeric kernels: arrays in, arrays out. They know no paths, clocks or configuration."""
