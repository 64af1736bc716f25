"""From a sample of hosts to all of them, with an interval."""
