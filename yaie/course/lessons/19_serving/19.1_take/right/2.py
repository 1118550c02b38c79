def take(self):
    rest = self.text[self.num_taken :]
    if self.detokenizer is not None:
        starts = (at for at in range(len(rest)) if any(stop.startswith(rest[at:]) for stop in self.stop))
        rest = rest[: next(starts, len(rest))]
    self.num_taken = self.num_taken + len(rest)
    return rest
