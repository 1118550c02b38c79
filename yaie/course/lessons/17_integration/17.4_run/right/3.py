from yaie.models.cuda_graph import fill


def run(self, batch):
    size = min(each for each in self.sizes if each >= len(batch.query_lens))
    fill(static := self._static_batch(size), batch)
    if size not in self.replays:
        self.replays |= {size: self.capture(lambda: self._step(static))}
    rows = self.replays[size]()
    return rows[: len(rows) - (size - len(batch.query_lens))]
