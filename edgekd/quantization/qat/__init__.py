"""Quantisation-aware training in torch."""
