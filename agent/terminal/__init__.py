"""A running agent in the terminal."""
