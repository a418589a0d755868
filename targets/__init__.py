"""Chip descriptions: one TOML file per device and runtime."""
