"""Logs of power that other tools wrote."""
