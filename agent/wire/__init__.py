"""Everything that speaks to Prometheus as its client."""
