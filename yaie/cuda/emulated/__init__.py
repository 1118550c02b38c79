"""Launchers without a card: built by g++ or clang++, run by a runtime of ours that checks and counts."""
