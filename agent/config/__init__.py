"""The configuration: its keys, and where their values are read."""
