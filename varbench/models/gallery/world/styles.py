"""The six styles as filters on a finished plain image.

Every filter gets the image with the subject's mask and outline, since a style must leave the
subject readable: most of them treat figure and ground a little differently, as a draughtsman
would. Patterns are aligned to a grid of 4 pixels, so that each 8 x 8 latent cell of the tokenizer
sees the same pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from varbench.models.gallery.world.canvas import SIZE

Floats = NDArray[np.float32]

_YX = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
_RADIUS_YX = np.hypot((_YX[0] - 31.5) / 32, (_YX[1] - 31.5) / 32).astype(np.float32)
# Distance to the nearest border, in pixels: 0.5 in the outermost row.
_BORDER_YX = (np.minimum(31.5 - abs(_YX[0] - 31.5), 31.5 - abs(_YX[1] - 31.5)) + 0.5).astype(
    np.float32
)
_TILE = 4  # pixels
_STROKES_FIGURE = ((_YX[0] + _YX[1]) % 4 < 2).astype(np.float32)
_STROKES_GROUND = ((_YX[0] - _YX[1]) % 4 < 2).astype(np.float32)
_SEPIA_LIGHT_YX = (
    np.clip(1.12 - 0.42 * _RADIUS_YX**2, 0.1, 1.0) * np.clip((_BORDER_YX - 2.5) / 1.5, 0.12, 1.0)
).astype(np.float32)
_LUMA = np.array([0.30, 0.59, 0.11], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished plain image and what a style needs to know about it.

    Attributes:
        rgb_YX3: the image, [64, 64, 3] in [0, 1].
        mask_YX: how much of each pixel belongs to a subject, [64, 64] in [0, 1].
        contour_YX: the subjects' outlines, also where one subject is in front of another,
            [64, 64] in [0, 1].
    """

    rgb_YX3: Floats
    mask_YX: Floats
    contour_YX: Floats


def spread(map_YX: Floats) -> Floats:
    """The map grown by one pixel in the four directions (a maximum filter)."""
    out = map_YX.copy()
    np.maximum(out[1:], map_YX[:-1], out=out[1:])
    np.maximum(out[:-1], map_YX[1:], out=out[:-1])
    np.maximum(out[:, 1:], map_YX[:, :-1], out=out[:, 1:])
    np.maximum(out[:, :-1], map_YX[:, 1:], out=out[:, :-1])
    return out


def _soften(map_YX: Floats, times: int = 1) -> Floats:
    """A 1-2-1 blur along both image axes, `times` times; works for [Y,X] and [Y,X,3]."""
    out = map_YX
    for _ in range(times):
        pad = np.concatenate([out[:1], out, out[-1:]], axis=0)
        out = (pad[:-2] + 2 * pad[1:-1] + pad[2:]) * np.float32(0.25)
        pad = np.concatenate([out[:, :1], out, out[:, -1:]], axis=1)
        out = (pad[:, :-2] + 2 * pad[:, 1:-1] + pad[:, 2:]) * np.float32(0.25)
    return out


def _channel_max(map_YX3: Floats) -> Floats:
    """Largest channel, [Y, X]; numpy's own reduction is slow over an axis of length 3."""
    return np.maximum(np.maximum(map_YX3[..., 0], map_YX3[..., 1]), map_YX3[..., 2])


def edges(map_YX: Floats) -> Floats:
    """Local change of a map [Y, X] or image [Y, X, 3] around each pixel: [Y, X], >= 0."""
    dy, dx = abs(map_YX[2:] - map_YX[:-2]), abs(map_YX[:, 2:] - map_YX[:, :-2])
    if map_YX.ndim == 3:
        dy, dx = _channel_max(dy), _channel_max(dx)
    out = np.zeros((SIZE, SIZE), dtype=np.float32)
    out[1:-1] = dy
    np.maximum(out[:, 1:-1], dx, out=out[:, 1:-1])
    return out


def _vivid(rgb_YX3: Floats) -> Floats:
    """The same hues with full brightness and saturation (greys stay light)."""
    high = _channel_max(rgb_YX3)
    low: Floats = np.float32(-0.92) * _channel_max(-rgb_YX3)
    out: Floats = (rgb_YX3 - low[..., None]) / (high - low + np.float32(0.02))[..., None]
    return out


def _tile_means(map_YXC: Floats) -> Floats:
    """Mean over each tile: [Y, X, C] -> [Y / tile, X / tile, C]."""
    count = SIZE // _TILE
    rows = map_YXC.reshape(count, _TILE, SIZE, -1).sum(axis=1)
    out: Floats = rows.reshape(count, count, _TILE, -1).sum(axis=2) * np.float32(1 / _TILE**2)
    return out


def _mosaic(drawing: Drawing, rng: np.random.Generator) -> Floats:
    rgb_YX3, mask_YX = drawing.rgb_YX3, drawing.mask_YX
    # Each tile shows figure or ground, whichever covers more of it, so the outline stays crisp.
    mask = mask_YX[..., None]
    cover = _tile_means(mask)
    figure = _tile_means(rgb_YX3 * mask) / np.maximum(cover, 1e-3)
    ground = _tile_means(rgb_YX3 * (1 - mask)) / np.maximum(1 - cover, 1e-3)
    tiles = np.where(cover > 0.5, figure, ground)
    shape = (SIZE // _TILE, SIZE // _TILE, 1)
    tiles = tiles * (1 + np.float32(0.16) * (2 * rng.random(shape, dtype=np.float32) - 1))
    wide = np.repeat(np.repeat(tiles, _TILE, axis=0), _TILE, axis=1)
    # Eyes and glasses are hardly larger than a tile: let some of the drawing through.
    out: Floats = wide + (rgb_YX3 - wide) * (np.float32(0.55) * mask)
    out[_TILE - 1 :: _TILE] *= np.float32(0.42)
    out[:, _TILE - 1 :: _TILE] *= np.float32(0.42)
    return out


def _hatching(drawing: Drawing, rng: np.random.Generator) -> Floats:
    rgb_YX3, mask_YX = drawing.rgb_YX3, drawing.mask_YX
    luma = rgb_YX3 @ _LUMA
    lines = np.clip(edges(luma) * np.float32(1.6) - np.float32(0.1), 0, np.float32(0.85))
    lines *= 1 - mask_YX  # inside the figure they would close the eyes
    # Figure and ground are hatched in opposite directions; the ground is kept pale, and in the
    # figure bright parts stay paper and dark parts become solid, or faces would drown.
    figure = mask_YX > 0.5
    strokes = np.where(figure, _STROKES_FIGURE, _STROKES_GROUND)
    depth = np.where(figure, 1.35 - 1.6 * luma, 0.95 - 0.72 * luma)
    grey = np.where(figure, 1.15 * luma + 0.12, 0.5 + 0.5 * luma)
    out = grey * (1 - strokes * np.clip(depth, 0, 1))
    out *= 1 - np.maximum(lines, np.clip(drawing.contour_YX * np.float32(1.5), 0, 1))
    return np.repeat(out[..., None], 3, axis=2).astype(np.float32)


def _neon(drawing: Drawing, rng: np.random.Generator) -> Floats:
    rgb_YX3, mask_YX = drawing.rgb_YX3, drawing.mask_YX
    soft = _soften(rgb_YX3)
    line = np.clip(edges(soft) * np.float32(2.6), 0, 1) * (np.float32(0.5) + 0.5 * mask_YX)
    light = line + _soften(line, 2) * np.float32(0.5)
    light += mask_YX * (soft @ _LUMA) * np.float32(0.38)
    out: Floats = _vivid(soft) * light[..., None]
    return out


def _watercolour(drawing: Drawing, rng: np.random.Generator) -> Floats:
    rgb_YX3, mask_YX = drawing.rgb_YX3, drawing.mask_YX
    coarse = rng.uniform(-0.12, 0.12, (8, 8)).astype(np.float32)
    blots = _soften(np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1), 4)
    paint = 0.30 + 0.70 * _soften(rgb_YX3, 2) + blots[..., None]
    paper = np.clip((_RADIUS_YX + 1.6 * blots - 0.88) * 3.2, 0, 1)
    paper *= 1 - np.float32(0.5) * mask_YX
    out: Floats = paint + (np.float32(0.99) - paint) * paper[..., None]
    return out


def _poster(drawing: Drawing, rng: np.random.Generator) -> Floats:
    rgb_YX3, mask_YX = drawing.rgb_YX3, drawing.mask_YX
    luma = (rgb_YX3 @ _LUMA)[..., None]
    strong = luma + (rgb_YX3 - luma) * np.float32(1.7)
    levels: Floats = np.round(np.clip(strong * np.float32(1.1), 0, 1) * 3)
    flat = levels * np.float32(1 / 3)
    inner = np.clip(edges(rgb_YX3) * np.float32(2.5) - np.float32(1.1), 0, np.float32(0.85))
    outer = spread(np.clip(drawing.contour_YX * 2, 0, 1))
    flat *= (1 - np.maximum(inner * mask_YX, outer))[..., None]
    frame = _BORDER_YX < 3
    flat[frame] = np.array([1.0, 0.94, 0.78], dtype=np.float32)  # cream
    return flat


def _sepia(drawing: Drawing, rng: np.random.Generator) -> Floats:
    rgb_YX3, mask_YX = drawing.rgb_YX3, drawing.mask_YX
    luma = np.clip((rgb_YX3 @ _LUMA - np.float32(0.5)) * np.float32(1.3) + np.float32(0.5), 0, 1)
    # A pale haze behind the figure and a firm outline replace the lost colours.
    luma = np.where(mask_YX > 0.5, luma, np.float32(0.25) + np.float32(0.75) * luma)
    luma *= 1 - np.clip(drawing.contour_YX, 0, np.float32(0.75))
    light = (np.float32(0.10) + np.float32(0.92) * luma) * _SEPIA_LIGHT_YX
    out: Floats = light[..., None] * np.array([1.0, 0.80, 0.52], dtype=np.float32)
    return out


_FILTERS: dict[str, Callable[[Drawing, np.random.Generator], Floats]] = {
    "mosaic": _mosaic,
    "hatching": _hatching,
    "neon": _neon,
    "watercolour": _watercolour,
    "poster": _poster,
    "sepia": _sepia,
}


def apply_style(style: str, drawing: Drawing, rng: np.random.Generator) -> Floats:
    """The image in a style.

    Args:
        style: one of `scene.STYLES`; "plain" returns the image as it is.
        drawing: the plain image with its mask and contour.
        rng: for tile and paper variation.

    Returns:
        [64, 64, 3], nominally in [0, 1] but not clipped.
    """
    if style == "plain":
        return drawing.rgb_YX3
    return _FILTERS[style](drawing, rng)
