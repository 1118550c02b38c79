def reading_once_pays(num_pages, branches, min_saved):
    readings = 0
    for size in branches.tolist():
        saved = (size - 1) * num_pages
        readings += 1 if saved >= min_saved else size
    return readings * num_pages - num_pages >= min_saved
