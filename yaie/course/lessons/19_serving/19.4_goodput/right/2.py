def goodput(load, first, between):
    served = [request for request in load if request.error is None]
    if len(served) == 0:
        return 0.0

    def is_good(request):
        times = request.token_times
        if times[0] - request.due > first:
            return False
        return times[-1] - times[0] <= between * (len(times) - 1)

    start = min(request.due for request in load)
    end = max(request.token_times[-1] for request in served)
    return sum(map(is_good, served)) / (end - start)
