"""Wires the live path: meter, sampler, resolver, accounts, recorder, exporters."""
