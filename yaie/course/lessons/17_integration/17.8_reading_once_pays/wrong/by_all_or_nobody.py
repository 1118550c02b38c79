# expect: Reading once for all saves
def reading_once_pays(num_pages, branches, min_saved):
    saved = num_pages * (int(branches.sum()) - 1)
    return saved >= min_saved and not any((size - 1) * num_pages >= min_saved for size in branches.tolist())
