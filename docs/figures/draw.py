"""Draw the figures into docs/_static: `python docs/figures/draw.py`.

`picture-*.svg` explains SSPS at one look; `data-flow-*.svg` shows a step.
"""

import csv
import math
import pathlib
import random
import statistics

STATIC = pathlib.Path(__file__).parents[1] / "_static"
FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
)
PALETTES = {
    "light": {
        "page": "#ffffff",
        "panel": "#f6f7f9",
        "card": "#ffffff",
        "line": "#d5d9e0",
        "ink": "#1c2430",
        "soft": "#5a6675",
        "wave": "#b9c1cc",
        "blue": "#1f6feb",
        "blue_fill": "#e3eeff",
        "orange": "#d9730d",
        "orange_fill": "#fdeedd",
        "green": "#218a5a",
        "green_fill": "#e1f4ea",
        "red": "#c9372c",
    },
    "dark": {
        "page": "#131416",
        "panel": "#1c1f24",
        "card": "#262a31",
        "line": "#3b424d",
        "ink": "#e8ebf0",
        "soft": "#a3adba",
        "wave": "#59626f",
        "blue": "#6aa8ff",
        "blue_fill": "#1d3354",
        "orange": "#f0a04b",
        "orange_fill": "#46321b",
        "green": "#5cc795",
        "green_fill": "#1b3d2e",
        "red": "#ff8378",
    },
}


class Drawing:
    """An SVG of rectangles, lines, text and waveforms."""

    def __init__(self, width, height, colors, title, description):
        self.size = width, height
        self.colors = colors
        self.title, self.description = title, description
        self.parts = []

    def add(self, element):
        """Add an element, its colours named in braces."""
        for name, value in self.colors.items():
            element = element.replace("{" + name + "}", value)
        self.parts.append(element)

    def box(self, x, y, width, height, fill="card", stroke="line", radius=10):
        """Draw a rounded rectangle."""
        self.add(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" '
            f'rx="{radius}" fill="{{{fill}}}" stroke="{{{stroke}}}" '
            'stroke-width="1.5"/>'
        )

    def text(self, x, y, text, size=15, fill="ink", weight=400, anchor="start"):
        """Write a line of text."""
        self.add(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{{{fill}}}" '
            f'font-weight="{weight}" text-anchor="{anchor}">{text}</text>'
        )

    def arrow(self, path, color="soft", width=2, dash="", both=False):
        """Draw a path with a head at its end."""
        start = f'marker-start="url(#head-{color})" ' if both else ""
        self.add(
            f'<path d="{path}" fill="none" stroke="{{{color}}}" '
            f'stroke-width="{width}" stroke-dasharray="{dash}" {start}'
            f'marker-end="url(#head-{color})"/>'
        )

    def wave(self, x, y, width, height, seed, marked=()):
        """Draw a waveform; `marked` are (start, stop, colour) as fractions."""
        rng = random.Random(seed)
        bars = int(width / 5)
        for start, stop, color in marked:
            self.add(
                f'<rect x="{x + start * width - 3:.1f}" y="{y - 2}" '
                f'width="{(stop - start) * width + 3:.1f}" '
                f'height="{height + 4}" rx="5" fill="{{{color}_fill}}" '
                f'stroke="{{{color}}}" stroke-width="1.5"/>'
            )
        for bar in range(bars):
            place = bar / bars
            swell = 0.35 + 0.65 * abs(math.sin(7 * place + seed))
            tall = height * swell * rng.uniform(0.25, 0.95)
            color = "wave"
            for start, stop, name in marked:
                if start <= place < stop:
                    color = name
            self.add(
                f'<rect x="{x + 5 * bar:.1f}" '
                f'y="{y + (height - tall) / 2:.1f}" width="2.6" '
                f'height="{tall:.1f}" rx="1.3" fill="{{{color}}}"/>'
            )

    def cluster(self, x, y, radius, color, seed, count=7):
        """Draw a cluster of dots in a circle."""
        self.add(
            f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{{{color}_fill}}" '
            f'stroke="{{{color}}}" stroke-width="1.3" stroke-dasharray="4 3"/>'
        )
        rng = random.Random(seed)
        for number in range(count):
            angle = 2 * math.pi * (number / count + 0.05 * rng.random())
            far = radius * (0.35 + 0.35 * rng.random())
            self.dot(
                x + far * math.cos(angle), y + far * math.sin(angle), color
            )

    def dot(self, x, y, color, radius=4.5):
        """Draw an embedding."""
        self.add(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" '
            f'fill="{{{color}}}"/>'
        )

    def svg(self):
        """Return the file's content."""
        width, height = self.size
        heads = "".join(
            f'<marker id="head-{name}" viewBox="0 0 10 10" refX="8.5" refY="5" '
            'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            f'<path d="M0 0 L10 5 L0 10 z" fill="{self.colors[name]}"/>'
            "</marker>"
            for name in ("soft", "blue", "green", "orange", "red")
        )
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="t d" font-family="{FONT}">\n'
            f'<title id="t">{self.title}</title>\n'
            f'<desc id="d">{self.description}</desc>\n'
            f"<defs>{heads}</defs>\n"
            f'<rect width="{width}" height="{height}" rx="14" '
            f'fill="{self.colors["page"]}"/>\n{body}\n</svg>\n'
        )


def picture(colors):
    """Draw the same-utterance positive beside that of SSPS."""
    d = Drawing(
        980,
        474,
        colors,
        "Self-Supervised Positive Sampling",
        "Usual self-supervision compares two crops of one recording. SSPS "
        "takes the positive from a neighbouring cluster of embeddings: "
        "probably the same speaker in another recording.",
    )
    d.box(10, 10, 372, 454, "panel", "line", 14)
    d.text(32, 45, "Usual: one recording", 18, "ink", 650)
    d.box(32, 66, 328, 112)
    d.text(48, 90, "one microphone, one room", 13.5, "soft")
    d.wave(50, 104, 294, 42, 3, [(0.06, 0.36, "blue"), (0.58, 0.9, "orange")])
    d.text(112, 169, "anchor", 14, "blue", 600, "middle")
    d.text(268, 169, "positive", 14, "orange", 600, "middle")
    d.arrow("M112 184 L112 262", "blue")
    d.arrow("M268 184 L268 262", "orange")
    d.box(60, 270, 104, 40, "blue_fill", "blue", 20)
    d.text(112, 295, "embedding", 14, "blue", 600, "middle")
    d.box(216, 270, 104, 40, "orange_fill", "orange", 20)
    d.text(268, 295, "embedding", 14, "orange", 600, "middle")
    d.arrow("M168 290 L212 290", "soft", 2, "", True)
    d.text(190, 334, "pulled together", 13.5, "soft", 400, "middle")
    d.text(32, 386, "They share voice, microphone and room.", 15)
    d.text(32, 409, "The network learns all three:", 15)
    d.text(32, 440, "14.9 % equal error rate *", 17, "red", 700)

    d.box(394, 10, 576, 454, "panel", "line", 14)
    d.text(
        416, 45, "SSPS: another recording, found without labels", 18, "ink", 650
    )
    d.box(416, 66, 236, 112)
    d.text(432, 90, "recording 1", 13.5, "soft")
    d.wave(434, 104, 200, 42, 3, [(0.1, 0.52, "blue")])
    d.text(496, 169, "anchor", 14, "blue", 600, "middle")
    d.box(712, 66, 236, 112)
    d.text(728, 90, "recording 7: other room", 13.5, "soft")
    d.wave(730, 104, 200, 42, 8, [(0.4, 0.85, "green")])
    d.text(856, 169, "pseudo-positive", 14, "green", 600, "middle")
    # The latent space
    d.box(416, 204, 532, 168, "card", "line", 12)
    d.text(432, 358, "embeddings of the corpus", 13.5, "soft")
    d.cluster(512, 268, 44, "blue", 2)
    d.cluster(760, 270, 44, "blue", 4)
    d.cluster(668, 322, 32, "orange", 5, 5)
    d.cluster(890, 322, 34, "orange", 6, 6)
    d.cluster(596, 228, 18, "orange", 9, 3)
    d.arrow("M496 182 L510 252", "blue")
    d.dot(511, 262, "blue", 7)
    d.arrow("M560 264 L710 268", "blue", 2.4)
    d.text(634, 256, "1  nearest cluster", 14, "blue", 600, "middle")
    d.dot(782, 252, "green", 7)
    d.arrow("M785 244 L836 184", "green", 2.4)
    d.text(824, 230, "2  draw one,", 14, "green", 600)
    d.text(824, 249, "kept in a queue", 13, "green", 600)
    d.text(416, 409, "They share the voice, and little else:", 15)
    d.text(416, 440, "5.8 % equal error rate *", 17, "green", 700)
    d.text(948, 440, "* MiniVox, mean of 3 seeds", 12.5, "soft", 400, "end")
    return d.svg()


def data_flow(colors):
    """Draw what happens to an utterance in a training step."""
    d = Drawing(
        980,
        486,
        colors,
        "A training step with SSPS",
        "Two views give anchor and positive, a clean crop the reference. The "
        "sampler draws a pseudo-positive of another utterance from its queue, "
        "then remembers positive and reference.",
    )

    def node(x, y, width, lines, fill="card", stroke="line", height=54):
        d.box(x, y, width, height, fill, stroke)
        first = y + height / 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            d.text(
                x + width / 2,
                first + 18 * number,
                line,
                14 if number == 0 else 12.5,
                "ink" if number == 0 else "soft",
                600 if number == 0 else 400,
                "middle",
            )

    node(16, 148, 108, ["utterance", "its index i"])
    node(154, 40, 130, ["view 1", "crop, augmented"])
    node(154, 148, 130, ["view 2", "crop, augmented"])
    node(154, 256, 130, ["reference", "clean crop, 4 s"])
    d.arrow("M124 168 C140 168 128 67 150 67")
    d.arrow("M124 175 L150 175")
    d.arrow("M124 182 C140 182 128 283 150 283")
    node(314, 40, 126, ["encoder, head", "trained"], "blue_fill", "blue")
    node(314, 148, 126, ["encoder, head", "trained"], "blue_fill", "blue")
    node(314, 256, 126, ["encoder", "eval, no gradient"])
    for y in (67, 175, 283):
        d.arrow(f"M284 {y} L310 {y}")
    d.arrow("M440 67 L864 67", "blue")
    d.text(456, 58, "anchor z", 14, "blue", 600)
    node(868, 40, 102, ["loss", "as it was"], "blue_fill", "blue", 162)
    # The sampler
    d.box(528, 98, 290, 372, "panel", "green", 14)
    d.text(664, 124, "PositiveSampler", 14.5, "green", 700, "middle")
    d.arrow("M440 175 L544 175", "orange")
    d.text(452, 166, "positive z'", 14, "orange", 600)
    node(
        548,
        146,
        232,
        ["substitute", "z' of i by z' of j"],
        "green_fill",
        "green",
    )
    d.arrow("M780 175 L864 175", "green")
    d.text(830, 166, "z''", 14, "green", 600)
    node(548, 236, 108, ["queue", "last z' by i"], "orange_fill", "orange")
    node(672, 236, 108, ["draw j", "≠ i"], "green_fill", "green")
    node(548, 326, 232, ["reference memory", "last ŷ of every utterance"])
    node(
        548,
        402,
        232,
        ["clusters, neighbours", "k-means, once an epoch"],
    )
    d.arrow("M440 283 C500 283 490 353 544 353")
    d.text(452, 274, "ŷ", 15, "ink", 600)
    d.arrow("M492 175 C520 176 512 262 544 263", "orange", 2, "5 4")
    d.arrow("M656 263 L668 263", "orange")
    d.arrow("M726 236 L726 204", "green")
    d.arrow("M664 380 L664 398")
    d.arrow("M780 429 C812 429 812 263 784 263", "green")
    d.text(
        16,
        430,
        "Memories are read first, and written after the draw.",
        13.5,
        "soft",
    )
    d.text(16, 450, "Nothing that was drawn carries a gradient.", 13.5, "soft")
    d.text(836, 234, "No speaker label", 13.5, "soft")
    d.text(836, 252, "is read anywhere.", 13.5, "soft")
    return d.svg()


def results(colors):
    """Draw the mean error rates of docs/minivox_runs.csv."""
    rates = mean_rates()
    width, left, scale, row = 860, 110, 32.0, 46
    height = 74 + row * len(rates)
    d = Drawing(
        width,
        height,
        colors,
        "Equal error rates on MiniVox",
        "; ".join(
            f"{name}: {plain:.1f} % without SSPS, {ssps:.1f} % with it, "
            f"{true:.1f} % with true positives"
            for name, (plain, ssps, true) in rates.items()
        ),
    )
    for place, color, label in (
        (left, "soft", "without SSPS"),
        (left + 150, "green", "with SSPS"),
        (left + 280, "orange", "true positives (labels): the bound"),
    ):
        d.dot(place + 6, 28, color, 7)
        d.text(place + 20, 33, label, 14, "ink")
    for percent in range(0, 21, 5):
        x = left + scale * percent
        d.add(
            f'<path d="M{x} 52 L{x} {height - 26}" stroke="{{line}}" '
            'stroke-width="1"/>'
        )
        d.text(x, height - 8, f"{percent} %", 12.5, "soft", 400, "middle")
    for number, (name, (plain, ssps, true)) in enumerate(rates.items()):
        y = 74 + row * number
        d.text(20, y + 5, name, 15, "ink", 600)
        start, end = left + scale * plain, left + scale * ssps + 9
        d.arrow(f"M{start:.0f} {y} L{end:.0f} {y}", "green", 2.5)
        for value, color in (
            (plain, "soft"),
            (ssps, "green"),
            (true, "orange"),
        ):
            d.dot(left + scale * value, y, color, 7)
            d.text(
                left + scale * value,
                y - 12,
                f"{value + 1e-9:.1f}",
                12.5,
                color,
                600,
                "middle",
            )
    return d.svg()


def mean_rates():
    """Average the runs: framework to EER without, with, true positives."""
    found = {}
    with open(STATIC.parent / "minivox_runs.csv", encoding="utf-8") as file:
        for run in csv.DictReader(file):
            kinds = found.setdefault(run["framework"], {})
            kinds.setdefault(run["positives"], []).append(float(run["EER %"]))
    return {
        name: [
            statistics.mean(kinds[kind])
            for kind in ("plain", "SSPS", "true positives")
        ]
        for name, kinds in found.items()
    }


def main():
    """Write every figure in both palettes."""
    for name, colors in PALETTES.items():
        (STATIC / f"picture-{name}.svg").write_text(picture(colors))
        (STATIC / f"data-flow-{name}.svg").write_text(data_flow(colors))
        (STATIC / f"results-{name}.svg").write_text(results(colors))


if __name__ == "__main__":
    main()
