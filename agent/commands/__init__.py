"""The command line, one file a command: flags and printing only."""
