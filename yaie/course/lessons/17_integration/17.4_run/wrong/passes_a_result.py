# expect: pass a function, not what a call of it returns
from yaie.models.cuda_graph import bucket_for, fill


def run(self, batch):
    num_seqs = len(batch.query_lens)
    size = bucket_for(num_seqs, self.sizes)
    static = self._static_batch(size)
    fill(static, batch)
    if size not in self.replays:
        self.replays[size] = self.capture(self._step(static))
    return self.replays[size]()[:num_seqs]
