# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which tree of a plan each chunk follows: the same on every host, from the trees' weights alone."""

from __future__ import annotations

import typing as t

# Chunks after which the pattern begins anew; a weight is kept to this part.
PERIOD = 1024

# A stripe's number is one byte of the pattern.
MAX_STRIPES = 255


class Stripes:
    """Weighted round robin: in any run of chunks each stripe has nearly its share.

    :param weights: one per stripe, in any unit; the first of equals comes first.
    """

    def __init__(self, weights: t.Sequence[float] = (1.0,)) -> None:
        """:raises ValueError: no weight, too many, or one that is negative, or all are zero."""
        total = sum(weights)
        if not 1 <= len(weights) <= MAX_STRIPES or not total > 0 or min(weights) < 0:
            raise ValueError(f"1 to {MAX_STRIPES} weights, none negative and one above 0, make stripes; not {list(weights)[:9]}.")
        self.weights = tuple(weight / total for weight in weights)
        self.count = len(weights)
        self.pattern = _pattern(self.weights)

    def of(self, index: int) -> int:
        """The stripe of a chunk."""
        return self.pattern[index % len(self.pattern)]

    def sizes(self, chunks: int) -> list[int]:
        """How many of the first chunks each stripe has."""
        rounds, rest = divmod(chunks, len(self.pattern))
        tail = self.pattern[:rest]
        return [rounds * self.pattern.count(stripe) + tail.count(stripe) for stripe in range(self.count)]


def _pattern(weights: t.Sequence[float]) -> bytes:
    if len(weights) == 1:
        return b"\0"
    # Whole places by the largest remainder; then each stripe's places evenly spread.
    places = [int(weight * PERIOD) for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda s: (places[s] - weights[s] * PERIOD, s))
    for stripe in by_rest[: PERIOD - sum(places)]:
        places[stripe] += 1
    spread = [((2 * nth + 1) / (2 * of), stripe) for stripe, of in enumerate(places) for nth in range(of)]
    return bytes(stripe for _at, stripe in sorted(spread))
