# expect: Reading once for all saves
def reading_once_pays(num_pages, branches, min_saved):
    return num_pages > 0 and branches.sum() > 1
