from yaie.kernels.radix_tree import as_int_array, match_prefix


def find_shared_prefixes(self, token_ids):
    tokens = as_int_array(token_ids, "token_ids")
    found = match_prefix(self.root, tokens)
    if not found.length:
        return [], 0
    return self._ids_below(found.node), found.length
