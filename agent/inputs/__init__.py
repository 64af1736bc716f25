"""Everything that people and other tools write, read so that each complaint names file, line and column."""
