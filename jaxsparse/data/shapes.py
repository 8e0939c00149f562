"""`shapes-HxWxC-cluttered-COUNT`: drawn objects of 30 classes on a clean or cluttered background.

In the role of the ObjectNet3D renders of Mehta et al. 2019 (section 3 and S4): the same objects once on a plain grey
background and once, with `-cluttered`, on a patchwork of straight-edged facets, in place of the Cubist paintings behind
the paper's. A class is one of ten silhouettes with one of three fills; position, size, rotation, tilt, mirroring,
shade, tint and the direction of the light vary at random. Square images of 16 to 64 pixels a side, grey or colour
[32x32x3], COUNT [50,000] training images and a fifth as many test images.

An object is drawn from the signed distance d (units of half an object, negative inside) to its silhouette's outline:
coverage of a pixel = clip(1/2 - d / pixel, 0, 1), which smooths the edges.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np

from jaxsparse.checks import require
from jaxsparse.data import cache
from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device

NAME = "shapes"
SHAPE, COUNT = (32, 32, 3), 50_000
PLAIN = 48
"""Grey of a clean background."""
FACETS = 6
"""Straight cuts through a cluttered background."""
STRIPES = 0.75
"""Distance of two stripes, in units of half an object."""
EXTENT, TABLE = 1.6, 400
"""The tables of distances reach from -EXTENT to EXTENT, on TABLE x TABLE points."""
CHUNK = 1000
"""Images drawn at once."""


def _points(*coordinates: float) -> np.ndarray:
    """Corners `[count, 2]` from x, y, x, y, .. (y points down)."""
    return np.array(coordinates).reshape(-1, 2)


def _arc(start: float, stop: float, radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Thirty points of a circle, angles in degrees."""
    angle = np.radians(np.linspace(start, stop, 30))
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1) + centre


def _star(radii: tuple[float, ...]) -> np.ndarray:
    """Corners at equal angles, the first on top."""
    angle = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.array(radii)[:, None] * np.stack([np.sin(angle), -np.cos(angle)], 1)


def _cross(width: float) -> np.ndarray:
    corners = _points(-width, -1.1, width, -1.1, width, -width)
    return np.concatenate([corners @ np.linalg.matrix_power([[0, 1], [-1, 0]], turns) for turns in range(4)])


def _heart() -> np.ndarray:
    t = 2 * np.pi * np.arange(40) / 40
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2], 1) / 15


SILHOUETTES = {
    "disc": _arc(0, 348, 0.95),
    "triangle": _star((1.2,) * 3),
    "square": _points(-0.85, -0.85, 0.85, -0.85, 0.85, 0.85, -0.85, 0.85),
    "star": _star((1.25, 0.55) * 5),
    "cross": _cross(0.38),
    "crescent": np.concatenate([_arc(50, 310), _arc(277, 83, 0.772, (0.55, 0))]) * 1.1 + [0.2, 0],
    "heart": _heart(),
    "arrow": _points(0, -1.2, 1.05, 0, 0.45, 0, 0.45, 1.1, -0.45, 1.1, -0.45, 0, -1.05, 0),
    "hourglass": _points(-0.9, -1.1, 0.9, -1.1, 0.25, 0, 0.9, 1.1, -0.9, 1.1, -0.25, 0),
    "tee": _points(-1.1, -1.1, 1.1, -1.1, 1.1, -0.3, 0.42, -0.3, 0.42, 1.1, -0.42, 1.1, -0.42, -0.3, -1.1, -0.3),
}
"""Outlines as polygons, within about one unit of the centre."""
FILLS = ("solid", "hollow", "striped")
CLASSES = tuple(f"{fill} {silhouette}" for silhouette in SILHOUETTES for fill in FILLS)
"""Names of the classes, in order of their labels."""


def signed_distance(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance of points `[.., 2]` to a polygon's outline `[corners, 2]`, negative inside."""
    nearest, inside = np.full(points.shape[:-1], np.inf), np.zeros(points.shape[:-1], bool)
    for start, stop in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        edge, away = stop - start, points - start
        along = np.clip(away @ edge / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(away - along[..., None] * edge, axis=-1))
        if edge[1]:  # a ray to the right crosses the outline an odd number of times where it starts inside
            above = (start[1] > points[..., 1]) != (stop[1] > points[..., 1])
            inside ^= above & (away[..., 0] < edge[0] / edge[1] * away[..., 1])
    return np.where(inside, -nearest, nearest)


@functools.cache
def _distances() -> np.ndarray:
    """Tables of signed distances `[silhouettes, TABLE, TABLE]`, by y and x."""
    axis = ((np.arange(TABLE) + 0.5) / TABLE * 2 - 1) * EXTENT
    points = np.stack(np.meshgrid(axis, axis), -1)
    return np.stack([signed_distance(polygon, points) for polygon in SILHOUETTES.values()]).astype(np.float32)


def _settings(name: str) -> tuple[tuple[int, int, int], bool, int]:
    """Shape of the images, whether the background is cluttered, and the number of training images."""
    found = re.fullmatch(rf"{NAME}(?:-(\d{{1,3}})x(\d{{1,3}})x(\d))?(-cluttered)?(?:-(\d{{1,7}}))?", name)
    require(found is not None, "data", name, f"{NAME}-HxWxC-cluttered-COUNT or a part of it, like {NAME}-32x32x3")
    assert found is not None
    *shape, cluttered, count = found.groups()
    height, width, channels = SHAPE if shape[0] is None else (int(number) for number in shape)
    require(height == width and 16 <= height <= 64, "image", f"{height}x{width}", "a square of 16x16 to 64x64 pixels")
    require(channels in (1, 3), "channels", channels, "1 (grey) or 3 (colour)")
    count = COUNT if count is None else int(count)
    require(150 <= count <= 10**6, "number of training images", count, "150 to 1000000")
    return (height, width, channels), cluttered is not None, count


def describe(name: str) -> Description:
    """Description of `shapes-HxWxC-cluttered-COUNT`.

    Raises:
      InvalidInput: for a name of another form or numbers out of range.
    """
    shape, cluttered, count = _settings(name)
    background = "a cluttered" if cluttered else "a clean"
    summary = f"drawn objects on {background} background, ten silhouettes with three fills; made, not photographed"
    return Description(name, summary, shape, len(CLASSES), count, count // 5, flip=True)


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """x `[1, 1, side]` and y `[1, side, 1]` of the pixels' centres, -1..1."""
    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1)[None]
    return axis[:, None, :], axis[:, :, None]


def _between(low: float, high: float, draws: np.ndarray) -> np.ndarray:
    return (low + (high - low) * draws).astype(np.float32)[:, None, None]


def _background(draws: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Facets `[n, height, width, channels]`: every straight cut lifts one side and lowers the other."""
    x, y = _grid(shape[0])
    image = np.full((len(draws), *shape), 90, np.float32)
    for angle, offset, lift, *tint in draws.reshape(len(draws), FACETS, 6).transpose(1, 2, 0):
        angle, offset = _between(0, 2 * np.pi, angle), _between(-0.8, 0.8, offset)
        side = np.clip((np.cos(angle) * x + np.sin(angle) * y - offset) * shape[0] / 2, -1, 1)
        for channel in range(shape[2]):
            image[..., channel] += side * (_between(-35, 35, lift) + _between(-15, 15, tint[channel]))
    return np.clip(image, 0, 180)


def _object(pose: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates u, v `[n, side, side]` of the pixels in units of half an object, and the size of a pixel `[n, 1, 1]`.

    `pose` `[n, 7]`, each in [0, 1): position (2), size, rotation, strength and axis of the tilt, mirroring.
    """
    right, down, size, rotation, tilt, axis, mirror = pose.T
    x, y = _grid(side)
    size = _between(0.5, 0.75, size)
    x, y = x - _between(-0.18, 0.18, right), y - _between(-0.18, 0.18, down)
    cos, sin = np.cos(_between(0, np.pi, axis)), np.sin(_between(0, np.pi, axis))
    along = (cos * x + sin * y) * _between(0, 0.67, tilt)  # along the axis it looks shorter, by up to 40 %
    x, y = x + along * cos, y + along * sin
    cos, sin = np.cos(_between(-0.8, 0.8, rotation)), np.sin(_between(-0.8, 0.8, rotation))
    mirrored = np.where(mirror < 0.5, -1, 1).astype(np.float32)[:, None, None]
    return mirrored * (cos * x + sin * y) / size, (cos * y - sin * x) / size, 2 / (side * size)


def _index(coordinate: np.ndarray) -> np.ndarray:
    """Nearest entry of the tables."""
    return np.clip((coordinate / EXTENT + 1) * (TABLE / 2), 0, TABLE - 1).astype(np.int32)


def _draw(labels: np.ndarray, pose: np.ndarray, look: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Objects on backgrounds `[n, height, width, channels]`, uint8; `look` `[n, 6]`: shade, light (2), tint (3)."""
    u, v, pixel = _object(pose, background.shape[1])
    x, y = _grid(background.shape[1])
    silhouette, fill = ((part[:, None, None]) for part in np.divmod(labels, len(FILLS)))
    distance = _distances()[silhouette, _index(v), _index(u)]

    def within(depth: float) -> np.ndarray:
        return np.clip(0.5 - (distance + depth) / pixel, 0, 1)

    cover = within(0) - np.where(fill == FILLS.index("hollow"), within(0.33), 0)
    stripes = np.clip(0.5 + np.sin(v * (2 * np.pi / STRIPES)) * (STRIPES / (2 * np.pi)) / pixel, 0, 1)
    dark = np.where(fill == FILLS.index("striped"), 0.8 * stripes * within(0.15), 0)
    shade, light_x, light_y, *tint = look.T
    light = 1 + _between(-0.25, 0.25, light_x) * x + _between(-0.25, 0.25, light_y) * y
    brightness = _between(170, 250, shade) * light * (1 - dark)
    image, colour = np.empty_like(background), background.shape[-1] > 1
    for channel in range(background.shape[-1]):
        below = background[..., channel]
        above = brightness * _between(0.6, 1, tint[channel]) if colour else brightness
        image[..., channel] = below + (above - below) * cover
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _render(shape: tuple[int, int, int], cluttered: bool, count: int, seed: int) -> Arrays:
    """`count` images, the classes in turn; objects and backgrounds draw from streams of their own."""
    labels = np.arange(count, dtype=np.int32) % len(CLASSES)
    objects, backgrounds = (np.random.default_rng((seed, stream)) for stream in (0, 1))
    images = np.empty((count, *shape), np.uint8)
    for start in range(0, count, CHUNK):
        some = labels[start : start + CHUNK]
        draws = objects.random((len(some), 13))
        if cluttered:
            background = _background(backgrounds.random((len(some), FACETS * 6)), shape)
        else:
            background = np.full((len(some), *shape), PLAIN, np.float32)
        images[start : start + CHUNK] = _draw(some, draws[:, :7], draws[:, 7:], background)
    return images, labels


def load(name: str) -> Dataset:
    """The arrays, on the default device."""
    description, settings = describe(name), _settings(name)

    def make() -> tuple[Arrays, Arrays]:
        return _render(*settings, seed=0), _render(*settings[:2], description.test_size, seed=1)

    return on_device(description, *cache.remember(name, (Path(__file__),), make))
