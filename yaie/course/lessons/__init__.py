"""One module per lesson: its exercises, hints, mutants and checks."""
