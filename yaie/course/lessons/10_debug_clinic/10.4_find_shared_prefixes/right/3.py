from yaie.kernels.radix_tree import as_int_array, match_prefix


def find_shared_prefixes(self, token_ids):
    tokens = as_int_array(token_ids, "token_ids")
    node, inside, length = match_prefix(self.root, tokens)
    ids = self._ids_below(node)
    return ids[: len(ids) * (length > 0)], length
