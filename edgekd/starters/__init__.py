"""What `edgekd init` writes, by kind of task: `<task>.py`, the user's own module, and `<task>.toml`, its recipe."""
