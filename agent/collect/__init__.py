"""Every agent's jobs in one place: asked for, put together, kept, and answered from."""
