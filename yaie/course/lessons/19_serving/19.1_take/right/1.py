def take(self):
    end = len(self.text)
    if self.detokenizer is not None:
        for stop in self.stop:
            size = min(len(stop) - 1, len(self.text))
            while size > 0 and self.text[-size:] != stop[:size]:
                size -= 1
            end = min(end, len(self.text) - size)
    new = self.text[self.num_taken : end]
    self.num_taken += len(new)
    return new
