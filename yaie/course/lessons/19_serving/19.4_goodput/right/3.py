from yaie.profiling.latency import seconds_of


def goodput(load, first, between):
    late = [r for r in load if not r.error and r.first > first]
    slow = [r for r in load if not r.error and len(r.between) and r.between.mean() > between]
    failed = [r for r in load if r.error]
    if len(failed) == len(load):
        return 0.0
    bad = {id(r) for r in late + slow + failed}
    return (len(load) - len(bad)) / seconds_of(load)
