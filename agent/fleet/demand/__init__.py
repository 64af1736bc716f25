"""A site's demand over time: peaks, ramps, swings and transformers."""
