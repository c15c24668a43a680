"""Sinkhorn-Knopp by a slow loop over a table, in float64."""

import math

import torch


def codes_by_loop(scores, epsilon, num_iterations):
    """Scale exp(scores / epsilon): columns to 1 / K, then rows to 1 / B."""
    table = [[math.exp(s / epsilon) for s in row] for row in scores.tolist()]
    rows, columns = range(len(table)), range(len(table[0]))
    for _ in range(num_iterations):
        for k in columns:
            total = sum(table[b][k] for b in rows)
            for b in rows:
                table[b][k] /= total * len(columns)
        for b in rows:
            total = sum(table[b])
            for k in columns:
                table[b][k] /= total * len(rows)
    return torch.tensor(table, dtype=torch.float64) * len(rows)
