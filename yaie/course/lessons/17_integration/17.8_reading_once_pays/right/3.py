import math

import numpy as np


def reading_once_pays(num_pages, branches, min_saved):
    """How many readings must be saved; then all is in readings."""
    if num_pages == 0:
        return False
    enough = math.ceil(min_saved / num_pages)
    by_itself = branches > enough
    return bool(np.sum(branches * ~by_itself + by_itself) > enough)
