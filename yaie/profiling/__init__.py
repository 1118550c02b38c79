"""Timing and costs: how fast something is, and how fast it could be."""
