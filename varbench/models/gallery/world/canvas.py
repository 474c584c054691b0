"""A pen that draws in image units (64 x 64), scaled, shifted and mirrored.

Drawings are made at twice the image's size and reduced, which is the antialiasing.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

SIZE = 64  # image side in pixels; all coordinates are in these units
OVERSAMPLE = 2  # drawings are made at SIZE * OVERSAMPLE

Colour = tuple[int, int, int]
Point = tuple[float, float]


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or lighter towards white (factor > 1)."""
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    mix = factor - 1
    r, g, b = (int(c + (255 - c) * min(mix, 1.0)) for c in colour)
    return (r, g, b)


class Pen:
    """Draws one subject, designed in a 64 x 64 box around (32, 32), at a place on a layer.

    Args:
        centre: where the design's (32, 32) goes, in image pixels.
        scale: size factor.
        mirror: flip left and right.
        mode: Pillow mode of the layer ("RGBA" for subjects, "RGB" for backgrounds).
    """

    def __init__(
        self,
        centre: Point = (32.0, 32.0),
        scale: float = 1.0,
        mirror: bool = False,
        mode: str = "RGBA",
    ) -> None:
        self.image = Image.new(mode, (SIZE * OVERSAMPLE, SIZE * OVERSAMPLE))
        self._draw = ImageDraw.Draw(self.image)
        self._sx = OVERSAMPLE * scale * (-1 if mirror else 1)
        self._sy = OVERSAMPLE * scale
        self._ox = OVERSAMPLE * centre[0] - self._sx * 32
        self._oy = OVERSAMPLE * centre[1] - self._sy * 32

    def _corners(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...]:
        a, b = self._ox + self._sx * x0, self._ox + self._sx * x1
        return (min(a, b), self._oy + self._sy * y0, max(a, b), self._oy + self._sy * y1)

    def oval(self, cx: float, cy: float, rx: float, ry: float, fill: Colour) -> None:
        """A filled ellipse around (cx, cy)."""
        self._draw.ellipse(self._corners(cx - rx, cy - ry, cx + rx, cy + ry), fill=fill)

    def ring(self, cx: float, cy: float, rx: float, ry: float, ink: Colour, width: float) -> None:
        """An ellipse's outline, `width` units thick inwards."""
        self._draw.ellipse(
            self._corners(cx - rx, cy - ry, cx + rx, cy + ry),
            outline=ink,
            width=max(1, round(width * self._sy)),
        )

    def half(self, cx: float, cy: float, rx: float, ry: float, fill: Colour, up: bool) -> None:
        """The upper or lower half of an ellipse around (cx, cy)."""
        start, end = (180, 360) if up else (0, 180)
        self._draw.chord(
            self._corners(cx - rx, cy - ry, cx + rx, cy + ry), start=start, end=end, fill=fill
        )

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0.0
    ) -> None:
        """A filled rectangle, with rounded corners if `radius` > 0."""
        corners = self._corners(x0, y0, x1, y1)
        if radius > 0:
            self._draw.rounded_rectangle(corners, radius=radius * self._sy, fill=fill)
        else:
            self._draw.rectangle(corners, fill=fill)

    def poly(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon(
            [(self._ox + self._sx * x, self._oy + self._sy * y) for x, y in points], fill=fill
        )

    def line(self, points: Sequence[Point], ink: Colour, width: float) -> None:
        """A polyline with rounded joints, `width` units thick."""
        self._draw.line(
            [(self._ox + self._sx * x, self._oy + self._sy * y) for x, y in points],
            fill=ink,
            width=max(1, round(width * self._sy)),
            joint="curve",
        )
