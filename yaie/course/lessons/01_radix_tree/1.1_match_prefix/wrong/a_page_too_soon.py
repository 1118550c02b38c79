# expect: The walk ended with one page left.
from yaie.kernels.radix_tree import Position, common_prefix_length, first_page


def match_prefix(root, tokens, page_size=1):
    node, inside, length = root, 0, 0
    while inside == len(node.edge) and len(tokens) - length > page_size:
        child = node.children.get(first_page(tokens[length:], page_size))
        if child is None:
            break
        node = child
        inside = common_prefix_length(node.edge, tokens[length:]) // page_size * page_size
        length += inside
    return Position(node, inside, length)
