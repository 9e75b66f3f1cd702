"""A timeline as a picture: load, waits and replicas above each other, as SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from harness.timeline import Moment

WIDTH, HEIGHT = 860, 150
LEFT, TOP, GAP = 60, 40, 45
INK, FIRST, SECOND = "#444", "#1f5fa8", "#c4501b"


@dataclass(frozen=True)
class Curve:
    """Values by second; None where there is none. `steps`: it stays until it changes."""

    name: str
    values: Sequence[float | None]
    colour: str
    steps: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes, with a dashed line at `target`."""

    title: str
    curves: Sequence[Curve]
    target: float | None = None

    @property
    def top(self) -> float:
        """The greatest value that has room."""
        found = [value for curve in self.curves for value in curve.values if value is not None]
        return 1.1 * max([*found, self.target or 0.0, 1e-3])


def picture(moments: Sequence[Moment], title: str, target_seconds: float) -> str:
    """The whole SVG document."""
    panels = (
        Panel(
            "questions per second",
            (
                Curve("asked", [one.asked for one in moments], FIRST),
                Curve("told to come again", [one.again for one in moments], SECOND),
            ),
        ),
        Panel(
            f"seconds that 95 of 100 waited at most (dashed: target, {target_seconds:g} s)",
            (Curve("queue p95", [one.queue_p95 for one in moments], FIRST),),
            target_seconds,
        ),
        Panel(
            "replicas",
            (
                Curve("asked for", [one.replicas for one in moments], FIRST, steps=True),
                Curve("answering", [one.ready for one in moments], SECOND, steps=True),
            ),
        ),
    )
    body = "".join(_panel(panel, number, len(moments)) for number, panel in enumerate(panels))
    height = TOP + len(panels) * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}"'
        f' font-family="sans-serif" font-size="12" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>\n{body}</svg>\n'
    )


def _panel(panel: Panel, number: int, length: int) -> str:
    base = TOP + number * (HEIGHT + GAP) + HEIGHT
    across, up = WIDTH / max(1, length), HEIGHT / panel.top
    parts = [
        f'<text x="{LEFT}" y="{base - HEIGHT - 6}">{escape(panel.title)}</text>',
        f'<path d="M{LEFT} {base - HEIGHT}V{base}H{LEFT + WIDTH}" fill="none" stroke="{INK}"/>',
        f'<text x="{LEFT - 6}" y="{base - HEIGHT + 8}" text-anchor="end">{panel.top / 1.1:.3g}</text>',
        f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">0</text>',
        *(
            f'<text x="{LEFT + at * across:.1f}" y="{base + 14}" text-anchor="middle">{at} s</text>'
            for at in range(0, length, 60)
        ),
    ]
    if panel.target is not None:
        level = base - panel.target * up
        line = f"M{LEFT} {level:.1f}H{LEFT + WIDTH}"
        parts.append(f'<path d="{line}" stroke="{INK}" stroke-dasharray="4 4" fill="none"/>')
    for place, curve in enumerate(panel.curves):
        about = f'x="{LEFT + WIDTH}" y="{base - HEIGHT - 6 - 13 * place}" text-anchor="end"'
        parts.append(f'<text {about} fill="{curve.colour}">{escape(curve.name)}</text>')
        line = _line(curve, base, across, up)
        parts.append(f'<path d="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.5"/>')
    return "\n".join(parts) + "\n"


def _line(curve: Curve, base: float, across: float, up: float) -> str:
    """The path of a curve; where a value is missing the pen is lifted."""
    path, drawing = "", False
    for second, value in enumerate(curve.values):
        if value is None:
            drawing = False
            continue
        x, y = LEFT + second * across, base - value * up
        if not drawing:
            path += f"M{x:.1f} {y:.1f}"
        else:
            path += f"H{x:.1f}V{y:.1f}" if curve.steps else f"L{x:.1f} {y:.1f}"
        drawing = True
    return path
