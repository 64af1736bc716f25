"""The server: pages, access and configuration."""
