"""Measures, attributes, records and extrapolates: everything between a GPU and a published number."""

if __name__ != "wattshed.agent":  # a second name would be a second copy of every class in it
    raise ImportError(
        f"import this as wattshed.agent, not as {__name__}; in a checkout, put deploy/python on PYTHONPATH"
    )
