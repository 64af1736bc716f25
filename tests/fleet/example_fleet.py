"""A small fleet, as its owner would write it down."""

FLEET = """\
[fleet]
name = "example"
meter_gain_sigma = 0.02

[[site]]
name = "east"
pue = { value = 1.2, low = 1.1, high = 1.3 }
other_it = 0.05
grid_loss = 0.02
supply_limit_w = 20e6
price_per_kwh = 0.1
carbon_g_per_kwh = 400

[[stratum]]
name = "train"
site = "east"
model = "H100 SXM"
hosts = 100
gpus_per_host = 8
node = { level_w = 900, slope = 1.2, fitted = true }

[[stratum]]
name = "serve"
site = "east"
model = "L4"
hosts = 50
gpus_per_host = 4
node = { level_w = 200, slope = 1.1, fitted = true }
"""
