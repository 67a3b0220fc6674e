"""One epoch of EM in plain loops over the published formulas, in float64: slow, and independent of the package."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import digamma


def log_normal(x, mean, covariance, kind):
    """log N(x | mean, covariance) of one patch."""
    d = len(x)
    if kind == "full":
        difference = x - mean
        quadratic = difference @ np.linalg.solve(covariance, difference)
        return -0.5 * (d * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + quadratic)
    total = 0.0
    for i in range(d):
        variance = covariance if kind == "spherical" else covariance[i]
        total -= 0.5 * (math.log(2 * math.pi * variance) + (x[i] - mean[i]) ** 2 / variance)
    return total


def stick_weights_to_log_pi(v):
    log_pi = []
    rest = 0.0
    for value in v:
        log_pi.append(math.log(value) + rest if value > 0 else -math.inf)
        rest += math.log1p(-value) if value < 1 else 0.0
    return log_pi


def responsibilities(x, log_pi, means, covariances, kind):
    """r (n, k) and Σ log p(x)."""
    r = np.zeros((len(x), len(log_pi)))
    log_likelihood = 0.0
    for n in range(len(x)):
        joint = [log_pi[k] + log_normal(x[n], means[k], covariances[k], kind) for k in range(len(log_pi))]
        largest = max(joint)
        total = largest + math.log(sum(math.exp(j - largest) for j in joint))
        log_likelihood += total
        for k in range(len(log_pi)):
            r[n, k] = math.exp(joint[k] - total)
    return r, log_likelihood


def epoch(x, log_pi, means, covariances, alpha, kind, regularisation):
    """Return v, means, covariances, alpha and Σ log p(x) (under the old parameters) of one exact epoch."""
    n, d = x.shape
    k_all = range(len(log_pi))
    r, log_likelihood = responsibilities(x, log_pi, means, covariances, kind)
    s = [sum(r[i, k] for i in range(n)) / n for k in k_all]
    new_means, new_covariances = [], []
    for k in k_all:
        m = sum(r[i, k] * x[i] for i in range(n)) / n
        mean = m / s[k]
        second = sum(r[i, k] * np.outer(x[i], x[i]) for i in range(n)) / n
        full = second / s[k] - np.outer(mean, mean)
        new_means.append(mean)
        if kind == "full":
            new_covariances.append(full + regularisation * np.eye(d))
        elif kind == "diag":
            new_covariances.append(np.diag(full) + regularisation)
        else:
            new_covariances.append(np.diag(full).mean() + regularisation)
    order = sorted(k_all, key=lambda k: -s[k])
    s = [s[k] for k in order]
    rests = [sum(s[k + 1 :]) for k in k_all]
    v = [s[k] / (s[k] + (alpha - 1) / n + rests[k]) for k in k_all]
    v[-1] = 1.0
    denominator = sum(
        digamma(n * (s[k] + rests[k]) + alpha + 1) - digamma(n * rests[k] + alpha) for k in range(len(s) - 1)
    )
    return (
        np.array(v),
        np.array([new_means[k] for k in order]),
        np.array([new_covariances[k] for k in order]),
        max(1.0, (len(s) - 1) / denominator),
        log_likelihood,
    )
