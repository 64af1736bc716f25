"""Loops over arrays, shared by the public kernels and their CUDA twins."""
