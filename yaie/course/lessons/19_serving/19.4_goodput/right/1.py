from yaie.profiling.latency import seconds_of


def goodput(load, first, between):
    good, served = 0, []
    for request in load:
        if request.error:
            continue
        served.append(request)
        gaps = len(request.between)
        mean = sum(request.between) / gaps if gaps else 0.0
        good += request.first <= first and mean <= between
    return good / seconds_of(load) if served else 0.0
