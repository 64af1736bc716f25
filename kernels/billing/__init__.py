"""What bills: counter and power reconciled, energy split among owners, power-only books, histograms."""
