from yaie.kernels.radix_tree import Position, common_prefix_length, first_page


def match_prefix(root, tokens, page_size=1):
    def walk(node, rest, length):
        child = node.children.get(first_page(rest, page_size))
        if child is None:
            return Position(node, len(node.edge), length)
        inside = common_prefix_length(child.edge, rest)
        inside = (inside // page_size) * page_size
        if inside < len(child.edge):
            return Position(child, inside, length + inside)
        return walk(child, rest[inside:], length + inside)

    return walk(root, tokens, 0)
