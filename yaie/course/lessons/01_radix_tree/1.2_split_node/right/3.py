from yaie.kernels.radix_tree import Node


def split_node(node, length, page_size=1):
    tokens = node.edge.copy()
    upper = Node(edge=tokens[:length].copy(), payload=node.payload.split(length // page_size))
    upper.key = tuple(int(token) for token in tokens[:page_size])
    upper.parent = node.parent
    upper.parent.children[upper.key] = upper
    node.edge = tokens[length:].copy()
    node.key = tuple(int(token) for token in node.edge[:page_size])
    node.parent = upper
    upper.children[node.key] = node
    return upper
