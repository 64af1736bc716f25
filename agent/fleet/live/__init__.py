"""A fleet from what its hosts publish now."""
