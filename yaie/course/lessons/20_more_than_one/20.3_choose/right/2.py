from yaie.server.router import Choice


def choose(self, tokens):
    rows = [(-known.cache.find(tokens).length, known.open, known.sent, name) for name, known in self.replicas.items()]
    if not rows:
        raise LookupError("nobody is there")
    idlest = min(row[1] for row in rows)
    rows.sort(key=lambda row: row[:3])
    first = next(row for row in rows if row[1] - idlest < self.max_lead)
    return Choice(first[3], -first[0], overloaded=rows[0][0] < first[0])
