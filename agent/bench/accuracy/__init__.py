"""wattshed and the peers on one simulated driver, on jobs whose joules are known."""
