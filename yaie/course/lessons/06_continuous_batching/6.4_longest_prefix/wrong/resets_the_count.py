# expect: request.num_overtaken afterwards
def longest_prefix(scheduler, request):
    if request.num_overtaken >= scheduler.max_overtaken:
        return 0, 0, request.arrival
    request.num_overtaken += 1
    return 1, -scheduler.pages.cache.find(request.token_ids[:-1]).length, request.arrival
