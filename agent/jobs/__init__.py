"""Jobs: from a process on a GPU to the owner who pays for its joules."""
