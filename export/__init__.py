"""What leaves with the model; copied verbatim into every bundle."""
