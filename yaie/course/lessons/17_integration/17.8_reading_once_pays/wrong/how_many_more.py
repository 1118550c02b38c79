# expect: whether the answer is a bool
def reading_once_pays(num_pages, branches, min_saved):
    readings = sum(1 if (size - 1) * num_pages >= min_saved else int(size) for size in branches)
    return max(0, (readings - 1) * num_pages - min_saved + 1)
