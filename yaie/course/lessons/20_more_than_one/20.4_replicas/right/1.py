def replicas_needed(work, seconds, busy, growth=1.0, spare=0):
    exact = len(work) * growth * max(work) / (seconds * busy)
    whole = int(exact)
    if whole < exact:
        whole += 1
    return (whole or 1) + spare
