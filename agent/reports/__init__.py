"""What a command asks about jobs, whom it asks, and how the answer is shown."""
