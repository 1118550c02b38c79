from yaie.kernels.radix_tree import as_int_array, match_prefix


def find_shared_prefixes(self, token_ids):
    tokens = as_int_array(token_ids, "token_ids")
    node, _, n = match_prefix(self.root, tokens)
    return (self._ids_below(node), n) if n > 0 else ([], n)
