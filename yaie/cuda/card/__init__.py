"""Launchers on a card: built by nvcc, on first use or ahead of time."""
