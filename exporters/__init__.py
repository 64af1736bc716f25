"""Exporters: the published facts, as Prometheus metrics, DCGM names, JSON and a page for people."""

if __name__ != "wattshed.exporters":  # a second name would be a second copy of every class in it
    raise ImportError(
        f"import this as wattshed.exporters, not as {__name__}; in a checkout, put deploy/python on PYTHONPATH"
    )
