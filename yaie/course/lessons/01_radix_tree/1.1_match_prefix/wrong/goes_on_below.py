# expect: although only a part of its edge had matched
from yaie.kernels.radix_tree import Position, common_prefix_length, first_page


def match_prefix(root, tokens, page_size=1):
    node, inside, length = root, 0, 0
    while True:
        rest = tokens[length:]
        child = node.children.get(first_page(rest, page_size))
        if child is None:
            return Position(node, inside, length)
        inside = common_prefix_length(child.edge, rest) // page_size * page_size
        length += inside
        node = child
