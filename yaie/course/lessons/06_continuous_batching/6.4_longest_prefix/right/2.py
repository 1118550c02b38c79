import math


def longest_prefix(scheduler, request):
    if scheduler.max_overtaken <= request.num_overtaken:
        return -math.inf, request.arrival
    tokens = request.token_ids[: request.num_tokens - 1]
    return -scheduler.pages.cache.find(tokens).length, request.arrival
