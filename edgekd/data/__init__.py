"""Data sets by name, as numpy arrays that every plane can use."""
