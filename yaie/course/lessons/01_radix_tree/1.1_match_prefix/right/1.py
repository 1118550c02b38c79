from yaie.kernels.radix_tree import Position, common_prefix_length, first_page


def match_prefix(root, tokens, page_size=1):
    node, matched = root, 0
    while True:
        child = node.children.get(first_page(tokens[matched:], page_size))
        if child is None:
            return Position(node, len(node.edge), matched)
        same = common_prefix_length(child.edge, tokens[matched:]) // page_size * page_size
        matched += same
        if same != len(child.edge):
            return Position(child, same, matched)
        node = child
