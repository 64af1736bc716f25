"""Every agent's history in one place: who is asked, what is taken, and who may see it."""
