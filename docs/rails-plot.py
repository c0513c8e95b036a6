#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/rails.svg: perf sim --json sim.json && docs/rails-plot.py sim.json > docs/rails.svg"""
import json
import math
import sys

SIZES = [1, 4, 16, 64, 256, 1024]  # MiB
RATE, ROUND_TRIP = 400e9, 20e-6  # of the world that perf sim makes
LEFT, TOP, WIDTH, HEIGHT = 60, 24, 520, 260

cases = {c["name"]: c["ours"] for c in json.load(open(sys.argv[1]))["cases"]}


def x_of(mib):
    return LEFT + WIDTH * math.log(mib, 4) / math.log(SIZES[-1], 4)


def y_of(share):
    return TOP + HEIGHT * (1 - share)


def bound(mib):
    time = mib * 2**20 / RATE
    return time / (time + ROUND_TRIP)


def curve(name):
    whole = "sim/" + name
    return [(m, cases[whole if m == 1024 else f"{whole}/{m}MiB"]) for m in SIZES]


def line(points, style):
    path = " ".join(f"{x_of(m):.1f},{y_of(s):.1f}" for m, s in points)
    return f'<polyline points="{path}" fill="none" {style}/>'


def text(x, y, what, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{what}</text>'


out = [
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 340" font-family="sans-serif" font-size="12">',
    '<rect width="640" height="340" fill="white"/>',
]
for share in (0, 0.25, 0.5, 0.75, 1):
    out.append(f'<path d="M{LEFT} {y_of(share):.1f}h{WIDTH}" stroke="#ddd"/>')
    out.append(text(LEFT - 8, y_of(share) + 4, f"{share:g}", "end"))
for mib in SIZES:
    out.append(text(x_of(mib), TOP + HEIGHT + 18, "1 GiB" if mib == 1024 else f"{mib} MiB", "middle"))
out.append(text(LEFT + WIDTH / 2, TOP + HEIGHT + 40, "one transfer over 32 rails: share of what they carry together", "middle"))
smooth = [(2 ** (i / 10), bound(2 ** (i / 10))) for i in range(101)]
out.append(line(smooth, 'stroke="#999" stroke-dasharray="4 3"'))
out.append(line(curve("equal_rails"), 'stroke="#1f77b4" stroke-width="2"'))
out.append(line(curve("unequal_rails"), 'stroke="#d62728" stroke-width="2"'))
static = cases["sim/unequal_rails_static"]
out.append(f'<path d="M{LEFT} {y_of(static):.1f}h{WIDTH}" stroke="#d62728" stroke-dasharray="2 3"/>')
out.append(text(LEFT + WIDTH, y_of(static) - 6, "rates 1:2:4:8, equal stripes", "end"))
legend = [("#999", "equal rails, if a round trip were all"), ("#1f77b4", "equal rails"), ("#d62728", "rates 1:2:4:8, pulled")]
for i, (colour, what) in enumerate(legend):
    y = TOP + 120 + 20 * i
    out.append(f'<path d="M{LEFT + 300} {y}h24" stroke="{colour}" stroke-width="2"/>')
    out.append(text(LEFT + 332, y + 4, what))
out.append("</svg>")
print("\n".join(out))
