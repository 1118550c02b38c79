"""The figures that notebooks draw: plain data in, a `Figure` with alt text out. Nothing here imports the engine.

svg: the canvas and `filmstrip`. tree: radix trees. memory: pages of a KV cache, warps and banks. attention: the way to
a token's slot. charts: bars, a pool over time, probabilities. curves: measurements, the roofline. timeline: a
continuous batch, and who works from when to when. model: matrices, rotation, shapes. threads: the elements of each
thread. fragments: attention in tiles and the registers of a warp. widgets: sliders. profiles: what `profile =
module.profile(...)` of `yaie.cuda` counted:

    plots.warp_trace(profile.trace)          # each instruction of the traced warp: thread -> sector or bank, its cost
    plots.warp_access(profile.trace[0])      # one of them in full: lines from threads to sectors, or the banks
    plots.profile_bars({"before": a, "after": b}, "sectors per request")   # or "bytes moved", "wavefronts per request"
"""

from yaie.plots.attention import page_walk
from yaie.plots.charts import bars, probabilities, stacked
from yaie.plots.curves import lines, roofline
from yaie.plots.fragments import chunk_map, fragment_map, score_tiles
from yaie.plots.memory import Block, bank_map, block_map, block_map_steps, blocks_of, threads_to_memory
from yaie.plots.model import FlowStep, flow, matrix, rotation
from yaie.plots.profiles import profile_bars, warp_access, warp_trace
from yaie.plots.svg import Figure, filmstrip
from yaie.plots.threads import thread_map
from yaie.plots.timeline import Span, lanes, timeline, timeline_rows
from yaie.plots.tree import TreeNode, radix_tree, tree_filmstrip, tree_from_cache, tree_from_graph
from yaie.plots.widgets import Slider, slider

__all__ = [
    "Block",
    "Figure",
    "FlowStep",
    "Slider",
    "Span",
    "TreeNode",
    "bank_map",
    "bars",
    "block_map",
    "block_map_steps",
    "blocks_of",
    "chunk_map",
    "filmstrip",
    "flow",
    "fragment_map",
    "lanes",
    "lines",
    "matrix",
    "page_walk",
    "probabilities",
    "profile_bars",
    "radix_tree",
    "roofline",
    "rotation",
    "score_tiles",
    "slider",
    "stacked",
    "thread_map",
    "threads_to_memory",
    "timeline",
    "timeline_rows",
    "tree_filmstrip",
    "tree_from_cache",
    "tree_from_graph",
    "warp_access",
    "warp_trace",
]
