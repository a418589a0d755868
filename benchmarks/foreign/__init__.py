"""Published networks through `edgekd export` and through other quantisers, judged by their task."""
