"""Figures of tiles, fragments and chunks: they must agree with what the kernels do."""

import re

import pytest

from yaie.plots.fragments import chunk_map, fragment_map, score_tiles


def test_score_tiles_count_what_a_kernel_skips():
    """Would catch: an offset forgotten, or a tile at the end of the keys that is said to need no mask."""
    square = score_tiles(256, 256, 64, 64).alt
    assert "16 tiles, 6 seen by all, 4 in part, 6 skipped" in square
    assert "Block 1: all, part, none, none." in square
    longer = score_tiles(64, 256, 64, 64).alt
    assert "Block 0: all, all, all, part." in longer
    assert "Block 0: all, part." in score_tiles(10, 70, 64, 64, causal=False).alt
    with pytest.raises(ValueError, match="tile_rows is 0"):
        score_tiles(1, 1, 0, 1)


def test_fragment_map_names_all_that_a_lane_holds():
    """Would catch: rows and columns swapped between picture and alt text."""
    owners = [[(row % 8 * 4 + column // 2, column % 2 + 2 * (row // 8)) for column in range(8)] for row in range(16)]
    alt = fragment_map(owners, lanes=(5,)).alt
    assert "Lane 5: element 0 is row 1, column 2; element 1 is row 1, column 3; element 2 is row 9, column 2;" in alt
    with pytest.raises(ValueError, match="at most 3"):
        fragment_map(owners, lanes=(1, 2, 3, 4))


def test_chunk_map_counts_turns():
    """Would catch: a picture that promises fewer turns than the banks need."""
    plain = chunk_map(lambda row, chunk: 8 * row + chunk)
    assert "2, 2, 2, 2, 2, 2, 2, 2 of 8: read at once, they take 8 turns" in plain.alt
    assert "1 turn." in chunk_map(lambda row, chunk: 8 * row + (chunk ^ row % 8)).alt
    assert "1 turn." in chunk_map(lambda row, chunk: 9 * row + chunk).alt
    with pytest.raises(ValueError, match="two chunks into one slot"):
        chunk_map(lambda row, chunk: chunk)


@pytest.mark.parametrize("owners", [[], [[]]])
def test_a_map_of_nothing_is_refused(owners):
    """Would catch an error from deep inside the drawing for a matrix without a row, or without a column."""
    with pytest.raises(ValueError, match=r"^fragment_map: owners is empty; expected at least one row"):
        fragment_map(owners)


def test_the_columns_have_their_title_above_them():
    """Would catch: a place whose x and y are swapped, which is still on the canvas."""
    svg = fragment_map([[(0, 0), (1, 0)]]).svg()
    title = [int(place) for place in re.search(r'<text x="(\d+)" y="(\d+)"[^>]*>column', svg).groups()]
    cell = [int(place) for place in re.search(r'<rect x="(\d+)" y="(\d+)"', svg).groups()]
    assert title[0] == cell[0]
    assert title[1] < cell[1]
