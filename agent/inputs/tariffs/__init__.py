"""Prices, carbon intensities and PUE over time: what an energy is multiplied by."""
