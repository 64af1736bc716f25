"""The simulated driver below the real binding: what tests and a first look run on."""
