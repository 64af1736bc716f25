"""Rules and a scrape example for Prometheus."""
