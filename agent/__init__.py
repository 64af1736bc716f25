"""Measures, attributes, records and extrapolates: everything between a GPU and a published number."""
