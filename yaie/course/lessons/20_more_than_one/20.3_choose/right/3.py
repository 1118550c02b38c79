from yaie.server.router import Choice


def choose(self, tokens):
    matched, opens = {}, {}
    for name in self.replicas:
        matched[name] = self.replicas[name].cache.find(tokens).length
        opens[name] = self.replicas[name].open
    if not opens:
        raise LookupError("add a replica first")
    names = [name for name in opens if opens[name] < min(opens.values()) + self.max_lead]
    longest = max(matched[name] for name in names)
    names = [name for name in names if matched[name] == longest]
    names = [name for name in names if opens[name] == min(opens[other] for other in names)]
    name = min(names, key=lambda each: self.replicas[each].sent)
    return Choice(name, longest, max(matched.values()) != longest)
