from yaie.kernels.radix_tree import Position


def match_prefix(root, tokens, page_size=1):
    tokens = tokens.tolist()
    node, length = root, 0
    while tuple(tokens[length : length + page_size]) in node.children:
        node = node.children[tuple(tokens[length : length + page_size])]
        inside = 0
        for wanted, found in zip(node.edge.tolist(), tokens[length:]):
            if wanted != found:
                break
            inside += 1
        inside = inside - inside % page_size
        length += inside
        if inside < len(node.edge):
            return Position(node, inside, length)
    return Position(node, len(node.edge), length)
