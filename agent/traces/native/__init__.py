"""The format that the agent itself records in."""
