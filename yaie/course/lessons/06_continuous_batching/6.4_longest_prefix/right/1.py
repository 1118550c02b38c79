def longest_prefix(scheduler, request):
    starving = request.num_overtaken >= scheduler.max_overtaken
    found = 0 if starving else scheduler.pages.cache.find(request.token_ids[:-1]).length
    return not starving, -found, request.arrival
