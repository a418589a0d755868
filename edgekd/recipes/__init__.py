"""Recipes that ship with edgekd: one TOML file each."""
