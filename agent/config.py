"""Configuration: TOML < environment < flags, one frozen dataclass, validated once."""
