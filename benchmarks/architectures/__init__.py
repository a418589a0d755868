"""The networks that people deploy, in plain torch, each with inputs and weights that make its outputs move."""

from architectures.network import Network
from architectures.registry import NETWORKS

__all__ = ["NETWORKS", "Network"]
