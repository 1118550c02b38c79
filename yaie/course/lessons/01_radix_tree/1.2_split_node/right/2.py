from yaie.kernels.radix_tree import Node, first_page


def split_node(node, length, page_size=1):
    head, tail = node.edge[:length], node.edge[length:]
    new_key = first_page(tail, page_size)
    upper = Node(head, node.payload.split(length // page_size), node.parent, node.key, {new_key: node})
    node.parent.children[node.key] = upper
    node.edge, node.key, node.parent = tail, new_key, upper
    return upper
