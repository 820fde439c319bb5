"""Named distributions, independent or correlated through a Gaussian copula.

A correlated variable is a function of a standard normal z: of z itself (normal, lognormal) or of u
= Phi(z) through its inverse distribution function. Beta, gamma and poisson have no closed inverse:
numpy draws them, and they cannot be correlated. Phi is Abramowitz and Stegun 26.2.17 with their
7.1.26 for erf; its absolute error is below 1.5e-7, far below the error of sampling.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streams.core.job_refusals import InvalidParameters

Doubles: TypeAlias = NDArray[np.float64]

_Real: TypeAlias = Annotated[float, Meta(ge=-1e12, le=1e12)]
_Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e12)]
_Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]

_ERF_P = 0.3275911
_ERF_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_U_MIN = 1e-12
"""keeps an inverse distribution function off its poles"""


class _Base(msgspec.Struct, frozen=True, tag_field="kind"):
    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        """``rows`` independent values."""
        return self.of_normal(rng.standard_normal(rows))

    def of_normal(self, z: Doubles) -> Doubles:
        """The value at each standard normal ``z``, rising with it; ``z`` may be overwritten.

        Raises `InvalidParameters` without a closed inverse.
        """
        del z
        raise InvalidParameters(f"a {self.__struct_config__.tag} variable cannot be correlated.")


class Normal(_Base, frozen=True, tag="normal"):
    mean: _Real
    sd: _Positive

    def of_normal(self, z: Doubles) -> Doubles:
        z *= self.sd
        z += self.mean
        return z


class LogNormal(_Base, frozen=True, tag="lognormal"):
    """exp of a normal with mean ``mu`` and standard deviation ``sigma``."""

    mu: Annotated[float, Meta(ge=-100, le=100)]
    sigma: Annotated[float, Meta(gt=0, le=10)]

    def of_normal(self, z: Doubles) -> Doubles:
        z *= self.sigma
        z += self.mu
        return np.exp(z, out=z)


class Uniform(_Base, frozen=True, tag="uniform"):
    low: _Real
    high: _Real

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError("low must be below high")

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return rng.uniform(self.low, self.high, rows)

    def of_normal(self, z: Doubles) -> Doubles:
        return self.low + (self.high - self.low) * phi(z)


class Triangular(_Base, frozen=True, tag="triangular"):
    low: _Real
    mode: _Real
    high: _Real

    def __post_init__(self) -> None:
        if not (self.low <= self.mode <= self.high and self.low < self.high):
            raise ValueError("low <= mode <= high and low < high must hold")

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return rng.triangular(self.low, self.mode, self.high, rows)

    def of_normal(self, z: Doubles) -> Doubles:
        u, width = phi(z), self.high - self.low
        rising = self.low + np.sqrt(u * width * (self.mode - self.low))
        falling = self.high - np.sqrt((1 - u) * width * (self.high - self.mode))
        return np.where(u * width < self.mode - self.low, rising, falling)


class Exponential(_Base, frozen=True, tag="exponential"):
    mean: _Positive

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return rng.exponential(self.mean, rows)

    def of_normal(self, z: Doubles) -> Doubles:
        return -self.mean * np.log(phi(-z))


class Weibull(_Base, frozen=True, tag="weibull"):
    shape: Annotated[float, Meta(ge=0.05, le=100)]
    scale: _Positive

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return self.scale * rng.weibull(self.shape, rows)

    def of_normal(self, z: Doubles) -> Doubles:
        return self.scale * (-np.log(phi(-z))) ** (1 / self.shape)


class Bernoulli(_Base, frozen=True, tag="bernoulli"):
    """1 with probability ``p``, else 0."""

    p: _Share

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return (rng.random(rows) < self.p).astype(np.float64)

    def of_normal(self, z: Doubles) -> Doubles:
        return (phi(-z) < self.p).astype(np.float64)


class Beta(_Base, frozen=True, tag="beta"):
    a: Annotated[float, Meta(gt=0, le=1e6)]
    b: Annotated[float, Meta(gt=0, le=1e6)]

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return rng.beta(self.a, self.b, rows)


class Gamma(_Base, frozen=True, tag="gamma"):
    shape: Annotated[float, Meta(gt=0, le=1e6)]
    scale: _Positive

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return rng.gamma(self.shape, self.scale, rows)


class Poisson(_Base, frozen=True, tag="poisson"):
    mean: Annotated[float, Meta(ge=0, le=1e9)]

    def draw(self, rng: np.random.Generator, rows: int) -> Doubles:
        return rng.poisson(self.mean, rows).astype(np.float64)


Distribution: TypeAlias = (
    Normal
    | LogNormal
    | Uniform
    | Triangular
    | Exponential
    | Weibull
    | Bernoulli
    | Beta
    | Gamma
    | Poisson
)


def phi(z: Doubles) -> Doubles:
    """The standard normal distribution function, kept off 0 and 1."""
    x = np.abs(z) * 0.7071067811865476
    t = 1 / (1 + _ERF_P * x)
    a1, a2, a3, a4, a5 = _ERF_A
    tail = ((((a5 * t + a4) * t + a3) * t + a2) * t + a1) * t * np.exp(-x * x) * 0.5
    return np.clip(np.where(z < 0, tail, 1 - tail), _U_MIN, 1 - _U_MIN)
