"""Arm's Ethos-U NPUs, compiled for by Vela."""
