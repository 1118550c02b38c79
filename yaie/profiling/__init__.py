"""Timing and costs: what benchmarks and everybody else need to say how fast something is, and could be."""
