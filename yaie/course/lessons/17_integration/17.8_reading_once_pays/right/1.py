def reading_once_pays(num_pages, branches, min_saved):
    alone = branches[(branches - 1) * num_pages < min_saved]
    num_readers = alone.sum() + len(branches) - len(alone)
    return bool(num_pages * (num_readers - 1) >= min_saved)
