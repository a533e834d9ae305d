"""Draws pictures of nodes: which part of a picture is where, and what it looks like."""

import math
from typing import Any, Final

import numpy as np
import pygame
from numpy.typing import NDArray
from pygame import Rect

from edgellm_env.env import picture as shows
from edgellm_env.env.canvas import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    LINE,
    ORANGE,
    PALE,
    PURPLE,
    QUIET,
    SKY,
    VERMILION,
    Canvas,
)
from edgellm_env.env.picture import Picture
from edgellm_env.env.rendering import SIZE

_BLOCKS: Final = {
    shows.CARRIED: GREY, shows.LOADING: PURPLE, shows.BATCH: GREEN, shows.PROMPTS: ORANGE, shows.DECODING: SKY,
}  # fmt: skip
_TICKS_S: Final = tuple(base * 10.0**power for power in range(-6, 7) for base in (1.0, 2.0, 5.0))


def draw(canvas: Canvas, picture: Picture) -> NDArray[np.uint8]:
    """Draw ``picture`` and return its (720, 1280, 3) colours, an array of its own."""
    canvas.clear()
    _header(canvas, picture)
    _queue(canvas, picture, canvas.panel(Rect(24, 100, 744, 424), "Queue"))
    legend = [("in use before", GREY), ("batch", GREEN)]
    _resources(canvas, picture, canvas.panel(Rect(784, 100, 472, 176), "Resources", picture.account, legend))
    _members(canvas, picture, Rect(784, 288, 472, 236))
    _timeline(canvas, picture, Rect(24, 536, 744, 164))
    legend = [("served", GREEN), ("expired", VERMILION)]
    _history(canvas, picture, canvas.panel(Rect(784, 536, 472, 164), "Requests by slot", "", legend))
    return canvas.colours()


def _header(canvas: Canvas, picture: Picture) -> None:
    title = picture.title if len(picture.title) <= 30 else f"{picture.title[:27]}..."
    width = canvas.text(title, (24, 20), 44) if len(title) <= 16 else canvas.text(title, (24, 30), 28)
    canvas.text(f"slot {picture.slot} of {picture.slots}   {picture.now_s:.1f} s", (24 + width + 18, 33), 24, QUIET)
    width = canvas.text(picture.node, (24, 66), 19, QUIET)
    canvas.text(picture.note, (24 + width + 24, 66), 19, VERMILION)
    colours = {"served": GREEN, "requests/s": GREEN, "expired": VERMILION}
    for place, (name, value) in enumerate(reversed(picture.counters.items())):
        right = SIZE[0] - 24 - 92 * place
        canvas.text(value, (right, 22), 38, colours.get(name, INK), 1.0)
        canvas.text(name, (right, 62), 18, QUIET, 1.0)


def _queue(canvas: Canvas, picture: Picture, box: Rect) -> None:
    """Draw requests by slack and compute time, both on scales of square roots, so that a diagonal stays one."""
    plot = Rect(box.left + 66, box.top + 28, box.width - 80, box.height - 70)
    # Some room beyond the largest, for its mark.
    most_x, most_y = 1.05 * max(picture.most_slack_s, 1e-3), 1.15 * max(picture.most_compute_s, 1e-3)
    least_s = -0.01 * most_x

    def root(value_s: Any) -> Any:
        return np.sign(value_s) * np.sqrt(np.abs(value_s))

    def across(value_s: Any) -> Any:
        return plot.left + plot.width * (root(value_s) - root(least_s)) / (root(most_x) - root(least_s))

    def up(value_s: Any) -> Any:
        return plot.bottom - plot.height * root(value_s) / root(most_y)

    at = box.left
    for kind, name in enumerate(shows.KINDS):
        mark = canvas.mark(kind, 7)
        canvas.surface.blit(mark, (at, box.top - 2))
        at += mark.get_width() + 4
        at += canvas.text(name, (at, box.top + 1), 17, QUIET) + 14
    # What has less slack than it takes alone can't be served: left of the diagonal.
    corner = min(most_x, most_y)
    lost = [(plot.left, plot.bottom), (across(0.0), plot.bottom), (across(corner), up(corner))]
    lost += [(across(corner), plot.top), (plot.left, plot.top)]
    pygame.draw.polygon(canvas.surface, (248, 240, 234), lost)
    for tick_s, x in _ticks(across, most_x):
        pygame.draw.line(canvas.surface, GRID, (x, plot.top), (x, plot.bottom))
        canvas.text(_seconds(tick_s), (x, plot.bottom + 6), 17, QUIET, 0.5)
    for tick_s, y in _ticks(up, most_y):
        pygame.draw.line(canvas.surface, GRID, (plot.left, y), (plot.right, y))
        canvas.text(_seconds(tick_s), (plot.left - 6, y - 6), 17, QUIET, 1.0)
    pygame.draw.aalines(canvas.surface, VERMILION, False, lost[1:4])
    canvas.text("too late", (plot.left + 6, plot.top + 6), 17, VERMILION)
    marks = picture.marks
    xs, ys = np.maximum(across(marks.slack_s), plot.left), up(marks.compute_s)
    radii = np.rint(4.0 + 14.0 * np.sqrt(np.minimum(1.0, marks.share))).astype(int)
    for place in np.argsort(-radii, kind="stable").tolist():  # small ones on top
        mark = canvas.mark(int(marks.kind[place]), int(radii[place]))
        canvas.surface.blit(mark, mark.get_rect(center=(round(xs[place]), round(ys[place]))))
    canvas.text("time left to compute in (s)", (plot.right, plot.bottom + 26), 17, INK, 1.0)
    canvas.text("size: largest share of memory or a link", (plot.left, plot.bottom + 26), 17, QUIET)
    canvas.text("compute time that it takes alone (s)", (box.left, plot.centery), 17, upright=True)


def _resources(canvas: Canvas, picture: Picture, box: Rect) -> None:
    for place, bar in enumerate(picture.bars):
        line = Rect(box.left + 92, box.top + 4 + 31 * place, box.width - 150, 18)
        canvas.text(bar.name, (box.left, line.top + 2), 18)
        canvas.bar(line, [(bar.carried, GREY), (bar.taken, GREEN)])
        if bar.tightest < 1.0:
            x = line.left + round(line.width * bar.tightest)
            pygame.draw.line(canvas.surface, VERMILION, (x, line.top - 3), (x, line.bottom + 2), 2)
        canvas.text(f"{bar.carried + bar.taken:.0%}", (box.right, line.top + 2), 18, INK, 1.0)


def _members(canvas: Canvas, picture: Picture, box: Rect) -> None:
    """Draw the batch, or what runs: a line each, of a bar alone where there are too many for words."""
    said, heads = "", ("made / to make", "", "spare s")
    if not picture.continuous:
        said, heads = picture.account, ("prompt + output", "share of its time left that is used", "spare s")
    legend = [("tokens made", BLUE), ("prompt waits", PALE)] if picture.continuous else []
    inner = canvas.panel(box, "Running" if picture.continuous else "Batch", said, legend)
    size = len(picture.members)
    columns = 2 if picture.continuous or size > 10 else 1
    lines = max(8, math.ceil(size / columns))
    width, height = (inner.width + 24) // columns - 24, (inner.height - 16) / lines
    worded, letters = height >= 10, 17 if height >= 16 else 15
    for place, member in enumerate(picture.members):
        left, top = inner.left + (place // lines) * (width + 24), inner.top + 18 + (place % lines) * height
        bar = Rect(left, round(top), width, max(2, round(height) - 3))
        if worded:
            bar = Rect(left + 104, round(top), width - 142, round(height) - 4)
            late = VERMILION if member.margin_s < 0.5 * picture.slot_s else INK
            canvas.text(member.text, (left, bar.centery - letters / 3), letters)
            canvas.text(f"{member.margin_s:.1f}", (left + width, bar.centery - letters / 3), letters, late, 1.0)
        canvas.bar(bar, [(1.0, PALE)] if member.waits else [(member.done, BLUE)])
        if worded and place % lines == 0:
            for name, at, align in zip(heads, (left, bar.left, left + width), (0.0, 0.0, 1.0), strict=True):
                canvas.text(name, (at, inner.top), 16, QUIET, align)


def _timeline(canvas: Canvas, picture: Picture, box: Rect) -> None:
    kinds = [shows.CARRIED, shows.PROMPTS, shows.DECODING] if picture.continuous else [shows.CARRIED, shows.BATCH]
    if any(block.kind == shows.LOADING for block in picture.blocks):
        kinds.insert(1, shows.LOADING)
    legend = [(shows.BLOCKS[kind], _BLOCKS[kind]) for kind in kinds]
    if not picture.continuous:
        legend.append(("tightest deadline", VERMILION))
    inner = canvas.panel(box, "Iterations" if picture.continuous else "Compute", picture.account, legend)
    plot = Rect(inner.left + 26, inner.top + 16, inner.width - 36, inner.height - 36)
    end_s = max((block.start_s + block.length_s for block in picture.blocks), default=0.0)
    whole_s = max(1.2 * picture.slot_s, 1.02 * end_s)
    most = 8 * math.ceil(max((block.members for block in picture.blocks), default=1) / 8)

    def across(value_s: float) -> int:
        return plot.left + round(plot.width * value_s / whole_s)

    for block in picture.blocks:
        left, right = across(block.start_s), across(block.start_s + block.length_s)
        share = block.members / most if picture.continuous and block.members else 1.0
        area = Rect(
            left, plot.bottom - round(plot.height * share), max(1, right - left - 1), round(plot.height * share)
        )
        pygame.draw.rect(canvas.surface, _BLOCKS[block.kind], area)
    pygame.draw.line(canvas.surface, LINE, plot.bottomleft, plot.bottomright)
    if picture.continuous:
        canvas.text(f"{most}", (plot.left - 6, plot.top), 17, QUIET, 1.0)
        canvas.text("0", (plot.left - 6, plot.bottom - 11), 17, QUIET, 1.0)
    step_s = next(tick_s for tick_s in _TICKS_S if whole_s / tick_s <= 8)
    for tick in range(int(whole_s / step_s) + 1):
        canvas.text(_seconds(tick * step_s), (across(tick * step_s), plot.bottom + 6), 17, QUIET, 0.5)
    x = across(picture.slot_s)
    pygame.draw.line(canvas.surface, INK, (x, plot.top - 12), (x, plot.bottom), 2)
    canvas.text("next slot", (x + 6, plot.top - 14), 17)
    if picture.deadline_s <= whole_s:
        x = across(picture.deadline_s)
        pygame.draw.line(canvas.surface, VERMILION, (x, plot.top), (x, plot.bottom), 2)


def _history(canvas: Canvas, picture: Picture, box: Rect) -> None:
    plot = Rect(box.left + 26, box.top, box.width - 26, box.height - 20)
    most = max(4, int(picture.served.max()), int(picture.expired.max()))
    for counts, colour, sign in ((picture.served, GREEN, -1), (picture.expired, VERMILION, 1)):
        for slot in np.flatnonzero(counts).tolist():
            left, right = (plot.left + round(plot.width * edge / picture.slots) for edge in (slot, slot + 1))
            tall = round(0.5 * plot.height * counts[slot] / most)
            top = plot.centery - tall if sign < 0 else plot.centery + 1
            pygame.draw.rect(canvas.surface, colour, Rect(left, top, max(1, right - left), tall))
    pygame.draw.line(canvas.surface, LINE, plot.midleft, plot.midright)
    for y in (plot.top, plot.bottom):
        canvas.text(f"{most}", (plot.left - 6, y - 6), 17, QUIET, 1.0)
    for share in (0.0, 0.5, 1.0):
        at = plot.left + share * plot.width
        canvas.text(f"{share * picture.slots:.0f}", (at, plot.bottom + 6), 17, QUIET, share)


def _ticks(place: Any, most_s: float) -> list[tuple[float, int]]:
    """Return ticks from 0 to ``most_s`` that are not too close, and where they are."""
    found = [(0.0, round(place(0.0)))]
    for tick_s in _TICKS_S:
        at = round(place(tick_s))
        if tick_s <= most_s and abs(at - found[-1][1]) >= 44:
            found.append((tick_s, at))
    return found


def _seconds(value_s: float) -> str:
    return f"{value_s:.4g}"
