"""What attributes energy: counter and power reconciled, energy split among owners, power-only windows, histograms."""
