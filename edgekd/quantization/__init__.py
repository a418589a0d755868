"""Post-training and training-aware quantisation: rules, ranges and QDQ graphs."""
