"""Exporters: the published facts, as Prometheus metrics, DCGM names, JSON and a page for people."""
