"""What every command prints alike: tables, figures and progress, in a terminal and in a pipe."""
