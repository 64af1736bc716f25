"""The kernels against memory bandwidth and against other tools, in one run."""
