"""The physics: a stretched square membrane, 1 by 1, stepped with finite differences.

Here live the wave equation, its parameters with their limits, and the energy. Nothing here knows time of day, files or
networks: `wave.py` decides when to step and whom to show the result.

    u_tt = speed² (u_xx + u_yy) - damping u_t + source

The scheme is leapfrog, second order in space and time. The time step is fixed for the highest permitted speed, so
turning the speed up during a run can never make it unstable.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here, and a sandbox may count threads
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]

GRID = 200
SPEED_MAX = 1.0
COURANT = 0.6  # speed * step / spacing at SPEED_MAX; the scheme is stable below 1/sqrt(2) = 0.707
SOURCE_RADIUS = 0.014
SPONGE_WIDTH = 0.13  # of the side; waves longer than twice this are partly reflected
SPONGE_STRENGTH = 110.0  # damping at the very edge per unit of speed; a wave comes back with about 1 % of its height


class Boundary(StrEnum):
    """What a wave meets at the edge."""

    FIXED = "fixed"  # held at zero: reflects upside down
    FREE = "free"  # no slope: reflects upright
    ABSORBING = "absorbing"  # a sponge layer swallows it


class Scene(StrEnum):
    """What stands on the membrane."""

    OPEN = "open"
    SLITS = "slits"


WALLS: dict[Scene, tuple[tuple[float, float, float, float], ...]] = {
    Scene.OPEN: (),
    Scene.SLITS: ((0.34, 0.0, 0.36, 0.385), (0.34, 0.435, 0.36, 0.565), (0.34, 0.615, 0.36, 1.0)),
}
"""Rigid rectangles of each scene as (left, top, right, bottom) in units of the side."""


Choice = TypeVar("Choice", Boundary, Scene)


class BadValue(ValueError):
    """A value from outside that is no number, out of range or unknown; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The permitted range of a number, both ends included."""

    low: float
    high: float
    unit: str

    def check(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadValue(f"{name} must be a number, not {value!r}")
        if not self.low <= value <= self.high:  # also true of NaN
            raise BadValue(f"{name} must be from {self.low:g} to {self.high:g}, not {value!r}")
        return float(value)


LIMITS = {
    "speed": Limits(0.2, SPEED_MAX, "sides per time unit"),
    "damping": Limits(0.0, 3.0, "1 per time unit"),
    "frequency": Limits(0.5, 10.0, "oscillations per time unit"),
    "amplitude": Limits(0.0, 2.0, "height"),
    "source_x": Limits(0.0, 1.0, "sides from the left"),
    "source_y": Limits(0.0, 1.0, "sides from the top"),
    "steps_per_frame": Limits(1, 40, "steps"),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """All that may be changed while it runs; units and limits are in LIMITS."""

    speed: float = 0.6
    damping: float = 0.05
    frequency: float = 8.0
    amplitude: float = 0.6
    source_x: float = 0.17
    source_y: float = 0.5
    steps_per_frame: int = 6
    boundary: Boundary = Boundary.ABSORBING
    scene: Scene = Scene.SLITS

    def changed(self, changes: Mapping[str, object]) -> Parameters:
        """A copy with `changes` applied, all of them or, by BadValue, none."""
        checked: dict[str, float | int | Boundary | Scene] = {}
        for name, value in changes.items():
            if name == "boundary":
                checked[name] = _choice(Boundary, name, value)
            elif name == "scene":
                checked[name] = _choice(Scene, name, value)
            elif name not in LIMITS:
                raise BadValue(f"there is no parameter {name!r}; there are {', '.join(dataclasses.asdict(self))}")
            else:
                number = LIMITS[name].check(name, value)
                checked[name] = _whole(name, number) if name == "steps_per_frame" else number
        return dataclasses.replace(self, **checked)  # type: ignore[arg-type]


def _choice(kind: type[Choice], name: str, value: object) -> Choice:
    try:
        return kind(str(value))
    except ValueError:
        raise BadValue(f"{name} must be one of {', '.join(kind)}, not {value!r}") from None


def _whole(name: str, number: float) -> int:
    if not number.is_integer():
        raise BadValue(f"{name} must be a whole number, not {number:g}")
    return int(number)


@dataclass(frozen=True, slots=True)
class Pulse:
    """A round hill (or, with negative height, a dent) put on the membrane at once."""

    x: float
    y: float
    height: float = 1.0
    radius: float = 0.03

    @staticmethod
    def parse(values: Mapping[str, object]) -> Pulse:
        """Of JSON; x and y are required. Raises BadValue."""
        missing = {"x", "y"} - values.keys()
        if missing:
            raise BadValue(f"a pulse needs {' and '.join(sorted(missing))}")
        unknown = values.keys() - PULSE_LIMITS.keys()
        if unknown:
            raise BadValue(f"a pulse has no {', '.join(sorted(unknown))}; it has {', '.join(PULSE_LIMITS)}")
        return Pulse(**{name: PULSE_LIMITS[name].check(name, value) for name, value in values.items()})


PULSE_LIMITS = {
    "x": Limits(0.0, 1.0, "sides from the left"),
    "y": Limits(0.0, 1.0, "sides from the top"),
    "height": Limits(-3.0, 3.0, "height"),
    "radius": Limits(0.01, 0.2, "sides"),
}


class Membrane:
    """The state of the membrane. One caller at a time; rows of every field run down (y), columns to the right (x)."""

    def __init__(self, parameters: Parameters, grid: int = GRID) -> None:
        self.grid = grid
        self.spacing = 1.0 / (grid + 1)
        self.step_seconds = COURANT * self.spacing / SPEED_MAX
        self.step = 0
        self._padded: Field = np.zeros((grid + 2, grid + 2))  # with one ring of ghost cells, which make the edge
        self._moved: Field = np.zeros((grid, grid))  # by how much the last step moved each cell: velocity * step
        self._bend: Field = np.empty((grid, grid))
        self._spare: Field = np.empty((grid, grid))
        self._phase = 0.0
        self.parameters = parameters
        self.change(parameters)

    @property
    def displacement(self) -> Field:
        """The height of every cell; a view, valid until the next step."""
        return self._padded[1:-1, 1:-1]

    @property
    def time(self) -> float:
        return self.step * self.step_seconds

    def change(self, parameters: Parameters) -> None:
        """Go on with other parameters. The change itself puts no energy in: waves become lower instead.

        Else a speed switched back and forth would pump them up without end, as one does on a swing.
        """
        energy = self.energy()
        self.parameters = parameters
        drag: Field = np.full((self.grid, self.grid), parameters.damping, dtype=np.float64)
        if parameters.boundary is Boundary.ABSORBING:
            drag += SPONGE_STRENGTH * parameters.speed * self._depth_in_sponge() ** 2
        drag *= self.step_seconds / 2  # taken half from the old, half from the new velocity: second order and stable
        self._open = self._open_cells()
        self._keep: Field = self._open * (1 - drag) / (1 + drag)
        self._gain: Field = self._open / (1 + drag)
        self._source = self._hill(parameters.source_x, parameters.source_y, SOURCE_RADIUS)
        self.displacement[...] *= self._open
        if parameters.boundary is not Boundary.FREE:
            self._padded[[0, -1], :] = 0
            self._padded[:, [0, -1]] = 0
        self._moved *= self._open
        if (changed_energy := self.energy()) > energy:
            lower = math.sqrt(max(energy, 0.0) / changed_energy)
            self._padded *= lower
            self._moved *= lower

    def add(self, pulse: Pulse) -> None:
        self.displacement[...] += pulse.height * self._hill(pulse.x, pulse.y, pulse.radius) * self._open

    def release(self, shape: Field) -> None:
        """Let go of the membrane, at rest in this shape, at time zero."""
        self.step = 0
        self._phase = 0.0
        self.displacement[...] = shape * self._open
        self._laplacian()
        # The velocity lives half a step back; from rest that is half a step of the acceleration, reversed.
        np.multiply(self._bend, -0.5 * self._courant_squared(), out=self._moved)

    def advance(self, steps: int) -> None:
        parameters = self.parameters
        courant_squared = self._courant_squared()
        turn = 2 * math.pi * parameters.frequency * self.step_seconds
        push = parameters.amplitude * (parameters.speed * self.step_seconds / SOURCE_RADIUS) ** 2
        for _ in range(steps):
            self._laplacian()
            self._bend *= courant_squared
            if push:
                # Summed up rather than computed of the time: a new frequency begins where the old one stopped.
                self._phase = math.fmod(self._phase + turn, 2 * math.pi)
                np.multiply(self._source, push * math.sin(self._phase), out=self._spare)
                self._bend += self._spare
            self._bend *= self._gain
            self._moved *= self._keep
            self._moved += self._bend
            self.displacement[...] += self._moved
        self.step += steps

    def energy(self) -> float:
        """Kinetic and elastic, for a density of 1.

        Of the two heights that the elastic part multiplies one is a step older than the other. This is the quantity
        which leapfrog keeps to the last bits when nothing drives or damps, instead of one that trembles.
        """
        self._laplacian()
        np.subtract(self.displacement, self._moved, out=self._spare)
        self._spare *= self._bend
        elastic = -0.5 * self.parameters.speed**2 * float(self._spare.sum())
        np.square(self._moved, out=self._spare)
        kinetic = 0.5 * float(self._spare.sum()) * (self.spacing / self.step_seconds) ** 2
        return kinetic + elastic

    def _courant_squared(self) -> float:
        return (self.parameters.speed * self.step_seconds / self.spacing) ** 2

    def _laplacian(self) -> None:
        """Into `_bend`: the five-point Laplacian times spacing²."""
        u = self._padded
        if self.parameters.boundary is Boundary.FREE:
            u[0, :], u[-1, :] = u[1, :], u[-2, :]
            u[:, 0], u[:, -1] = u[:, 1], u[:, -2]
        np.multiply(u[1:-1, 1:-1], -4.0, out=self._bend)
        self._bend += u[:-2, 1:-1]
        self._bend += u[2:, 1:-1]
        self._bend += u[1:-1, :-2]
        self._bend += u[1:-1, 2:]

    def _axis(self) -> Field:
        axis: Field = np.arange(1, self.grid + 1, dtype=np.float64) * self.spacing
        return axis

    def _hill(self, x: float, y: float, radius: float) -> Field:
        axis = self._axis()
        hill: Field = np.outer(np.exp(-(((axis - y) / radius) ** 2)), np.exp(-(((axis - x) / radius) ** 2)))
        return hill

    def _depth_in_sponge(self) -> Field:
        """0 inside, growing to 1 at the edge."""
        axis = self._axis()
        depth = np.clip(1 - np.minimum(axis, 1 - axis) / SPONGE_WIDTH, 0, 1)
        deepest: Field = np.maximum.outer(depth, depth)
        return deepest

    def _open_cells(self) -> Field:
        """1 where the membrane may move, 0 in walls."""
        axis = self._axis()
        cells = np.ones((self.grid, self.grid))
        for left, top, right, bottom in WALLS[self.parameters.scene]:
            rows, columns = (axis >= top) & (axis <= bottom), (axis >= left) & (axis <= right)
            cells[np.ix_(rows, columns)] = 0
        return cells
