"""For maintainers: make an exercise and prove it."""
