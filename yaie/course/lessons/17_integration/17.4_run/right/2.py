from functools import partial

from yaie.models.cuda_graph import fill


def run(self, batch):
    num_seqs = len(batch.query_lens)
    size = next(each for each in self.sizes if each >= num_seqs)
    static = self._static_batch(size)
    fill(static, batch)
    try:
        replay = self.replays[size]
    except KeyError:
        replay = self.capture(partial(self._step, static))
        self.replays[size] = replay
    return replay().narrow(0, 0, num_seqs)
