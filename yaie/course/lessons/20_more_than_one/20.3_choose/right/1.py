from yaie.server.router import Choice


def choose(self, tokens):
    if len(self.replicas) == 0:
        raise LookupError("no replica")
    fewest = min(known.open for known in self.replicas.values())
    chosen, most, key = None, 0, None
    for name, known in self.replicas.items():
        length = known.cache.find(tokens).length
        most = max(most, length)
        if known.open >= fewest + self.max_lead:
            continue
        this = (length, -known.open, -known.sent)
        if key is None or this > key:
            chosen, key = name, this
    return Choice(chosen, key[0], most > key[0])
