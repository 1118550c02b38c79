def longest_prefix(scheduler, request):
    # one number: the arrival decides within a million, the tokens found beyond
    found = 10**6 if request.num_overtaken >= scheduler.max_overtaken else _found(scheduler, request)
    return request.arrival - found * 10**6


def _found(scheduler, request):
    return scheduler.pages.cache.find(request.token_ids[:-1].tolist()).length
