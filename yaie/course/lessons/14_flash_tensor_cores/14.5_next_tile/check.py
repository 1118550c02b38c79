from __future__ import annotations

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.cuda import KernelError

from ..common import launchers

THREADS, NEVER = 128, -1


def check() -> None:
    launch = launchers(__file__).next_tile_alone
    for num_tiles, threads_apart in ((1, 32), (2, 32), (3, 32), (5, 32), (1, 0), (3, 0)):
        what = "what another one copied" if threads_apart else "its own part"
        tiles = "one tile" if num_tiles == 1 else f"{num_tiles} tiles, numbered from 0"
        with given(f"{tiles}; in each turn a thread reads {what}"):
            rows = torch.arange(float(num_tiles))[:, None, None].repeat(1, THREADS, 4)
            out = torch.full_like(rows, -1.0)
            launch(rows, out, num_tiles, threads_apart, NEVER)
            expect(out[:, 0, 0], rows[:, 0, 0], "tile that was read in each turn")
    for num_tiles, at in ((2, 0), (4, 2)):
        tiles = torch.zeros(num_tiles, THREADS, 4)
        with given(f"next_tile({at}, {num_tiles}, start_tile), and then a thread reads its own part of tile {at + 1}"):
            try:
                launch(tiles, tiles.clone(), num_tiles, 32, at)
            except KernelError as error:
                kind = error.findings[0].kind
                if kind == "cp_async_not_waited":
                    continue
                if kind != "uninitialised":
                    raise
                got, note = f"the copy of tile {at + 1} has not been started", "The copy of the next tile begins here."
            else:
                got, note = f"tile {at + 1} may be read already", "It was waited for as soon as it was started."
            headline = "The result is right, but the next tile's copy is not in flight when `next_tile` returns."
            wanted = f"the copy of tile {at + 1} is in flight"
            raise Mismatch("copy", got, wanted, "", note, headline)
