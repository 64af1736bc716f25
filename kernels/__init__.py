"""Numeric kernels: arrays in, arrays out. They know no paths, clocks or configuration."""

if __name__ != "wattshed.kernels":  # a second name would be a second copy of every class in it
    raise ImportError(
        f"import this as wattshed.kernels, not as {__name__}; in a checkout, put deploy/python on PYTHONPATH"
    )
