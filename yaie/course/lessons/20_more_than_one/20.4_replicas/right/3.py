from math import ceil


def replicas_needed(work, seconds, busy, growth=1.0, spare=0):
    times_too_much = max(work) * growth / (busy * seconds)
    return spare + max(ceil(times_too_much * len(work)), 1)
