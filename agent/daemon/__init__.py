"""The live agent: its parts put together, and the loop that they run in."""
