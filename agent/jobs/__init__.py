"""Jobs: from a process on a GPU to the owner of its joules."""
