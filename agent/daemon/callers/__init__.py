"""Processes of jobs that ask the agent for their own joules, or tell it what work they did."""
