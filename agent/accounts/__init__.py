"""Accounts: from readings to joules, and from joules to jobs."""
