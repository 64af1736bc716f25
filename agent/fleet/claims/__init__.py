"""Public claims about clusters, worked out with intervals and judged."""
