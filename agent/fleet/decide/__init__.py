"""What a planner asks: from measured power to decisions, each with what it assumes."""
