"""The canvas: bytes, escaping, text widths."""

import base64
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie.plots import Figure, filmstrip
from yaie.plots.svg import PALETTE, draw_legend, fit, ink_on, number, printable, text_width, tint, wrap


def _figure() -> Figure:
    figure = Figure(200, 80, "A red herring & friends")
    figure.rect(10.4, 10.6, 50.2, 20, hatch=True)
    figure.arrow(10, 60, 90.7, 33.3)
    figure.text(100, 50, "a < b", anchor="middle")
    return figure


def test_output_is_the_same_bytes_and_whole_numbers():
    """Would catch: float coordinates or ids from a counter, which nbval sees as a changed output."""
    svg = _figure().svg()
    assert svg == _figure().svg()
    numbers = re.findall(r'\b(?<!-)(?:x|y|width|height|points|x1|y1|x2|y2|cx|cy|r)="([^"]*)"', svg)
    assert len(numbers) > 10
    assert all(re.fullmatch(r"-?\d+", n) for entry in numbers for n in re.split("[, ]", entry))


def test_mimebundle_is_an_img_with_alt_text():
    """Would catch: inline SVG, which JupyterLab drops in a notebook that is not trusted, or a lost alt text."""
    bundle = _figure()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == "A red herring & friends" == str(_figure())
    image = ET.fromstring(bundle["text/html"].replace(">", "/>"))
    assert image.tag == "img"
    assert image.get("alt") == "A red herring & friends"
    kind, data = image.get("src").split(",")
    assert kind == "data:image/svg+xml;base64"
    assert ET.fromstring(base64.b64decode(data)).get("viewBox") == "0 0 200 80"
    assert "max-width:100%" in image.get("style")


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_any_text_gives_well_formed_xml(text):
    """Would catch: a label with <, &, quotes, a control character or a lone surrogate that breaks the picture."""
    figure = Figure(300, 40, text)
    figure.text(5, 20, text)
    root = ET.fromstring(figure.svg().encode())
    assert root.find("{http://www.w3.org/2000/svg}title").text in (figure.alt, None if not figure.alt else figure.alt)


def test_control_characters_do_not_vanish():
    """Would catch: a token label such as a zero byte that silently shows as nothing."""
    assert printable("a\x00b\ud800\nc\u202e") == "a\ufffdb\ufffd c\ufffd"


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60), st.integers(0, 300), st.booleans())
def test_fit_keeps_the_width(text, width, bold):
    """Would catch: a shortened label that still leaves its box."""
    shown = fit(text, width, bold=bold)
    assert text_width(shown, bold=bold) <= width
    if text_width(text, bold=bold) <= width:
        assert shown == printable(text)


def test_text_width_covers_the_font():
    """Would catch: a width table that is too small, by comparing it with the font's own metrics."""
    import matplotlib
    from matplotlib import ft2font

    for name, bold in (("DejaVuSans.ttf", False), ("DejaVuSans-Bold.ttf", True)):
        font = ft2font.FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{name}")
        for char in [chr(code) for code in range(32, 127)] + list("×·…→−éπ∞µ"):
            glyph = font.load_char(ord(char), flags=ft2font.LoadFlags.NO_SCALE)
            # glyph units over units per em; the estimate must never be narrower (rounding of the table: 1 in 1000)
            assert text_width(char, 1000, bold=bold) >= glyph.horiAdvance * 1000 / font.units_per_EM - 1, (char, bold)


def test_wrap_keeps_words_and_width():
    lines = wrap("one two three four five", 80)
    assert " ".join(lines) == "one two three four five"
    assert len(lines) > 1
    assert all(text_width(line) <= 80 for line in lines)


@pytest.mark.parametrize("color", [c for base in PALETTE for c in (base, tint(base), tint(base, 70))])
def test_text_on_every_fill_can_be_read(color):
    """Would catch: white text on orange. WCAG asks for a contrast of 4.5."""

    def luminance(hex_color):
        channels = [int(hex_color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(color), luminance(ink_on(color))), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_number():
    assert [number(v) for v in (0, 3, 12345, 0.12345, 1234.5, 2.0, 1e-5)] == [
        "0",
        "3",
        "12,345",
        "0.123",
        "1,234",
        "2",
        "1e-05",
    ]


def test_filmstrip_joins_pictures_and_alt_texts():
    """Would catch: a strip in which a picture or its description is lost, or pictures that overlap."""
    strip = filmstrip([_figure()] * 5, ["one", "two", "three", "four", "five"], title="Strip")
    assert strip.alt.startswith("Strip. 5 pictures. 1. one: A red herring & friends 2. two: ")
    frames = [b for b in strip.boxes if b.kind == "rect" and b.right - b.left == 200]
    assert len(frames) == 5
    assert strip.width <= 900
    assert all(a == b or a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top
               for a in frames for b in frames)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filmstrip([], []), "figures is empty"),
        (lambda: filmstrip([_figure()], []), "captions has 0 entries for 1 figure"),
        (lambda: filmstrip([_figure()], ["a"], columns=0), "columns is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_save_writes_the_document(tmp_path):
    path = _figure().save(tmp_path / "x.svg")
    assert ET.parse(path).getroot().get("width") == "200"


def test_legend_stays_inside():
    """Would catch: a legend entry that is longer than the figure."""
    from yaie.plots.svg import Key

    figure = Figure(200, 200, "legend")
    draw_legend(figure, [Key("an entry that cannot possibly fit into this width", "#ffffff", "A")] * 3, 16, 8, 168)
    assert max(b.right for b in figure.boxes) <= 200
