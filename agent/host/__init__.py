"""Meters of the host beside the GPUs' own: read from the kernel's files, and from files that root's readers write."""
