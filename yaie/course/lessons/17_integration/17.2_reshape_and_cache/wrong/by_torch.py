# expect: number of launches is wrong
import torch


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    slots = slot_mapping.long()
    for new, cache in ((key, key_cache), (value, value_cache)):
        rows = cache.flatten(0, 1)
        kept = rows.index_select(0, slots.clamp(min=0))
        stored = torch.where((slots >= 0).view(-1, 1, 1), new.to(cache.dtype), kept)
        rows.index_copy_(0, slots.clamp(min=0), stored)
