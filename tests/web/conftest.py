"""Bundles of a small random network."""

from tests.measure.bundles import bundle, own_bundle

__all__ = ["bundle", "own_bundle"]
