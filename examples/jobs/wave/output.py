"""What leaves a run: frames for the wire, pictures, and the files at its end, each complete or absent.

`wave.py` decides when; nothing here steps the membrane or knows of HTTP.
"""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from membrane import Field
from numpy.typing import NDArray

ENERGY_ROWS_MAX = 20_000

# Of a diverging map with a dark middle: one colour per anchor from the lowest trough to the highest crest.
PICTURE_COLOURS = (
    (255, 214, 170),
    (235, 120, 60),
    (120, 40, 30),
    (14, 17, 26),
    (16, 66, 110),
    (50, 150, 210),
    (200, 240, 255),
)


FRAME_HEADER = struct.Struct("<4sIIHHddf")
"""Magic `WAV1`, frame, step, width, height, time, energy, scale; then height x width signed bytes, see `companded`."""


@dataclass(slots=True)
class Frame:
    """The membrane at one moment, as shown; immutable but for what is encoded of it on first use."""

    number: int
    step: int
    time: float
    energy: float
    scale: float
    heights: Field
    _encoded: dict[int, bytes] = field(default_factory=dict)

    def encoded(self, stride: int) -> bytes:
        """Every stride-th cell in each direction, for the wire; made once for all viewers."""
        if stride not in self._encoded:
            heights = self.heights[::stride, ::stride]
            rows, columns = heights.shape
            header = FRAME_HEADER.pack(
                b"WAV1", self.number, self.step, columns, rows, self.time, self.energy, self.scale
            )
            self._encoded[stride] = header + companded(heights, self.scale).tobytes()
        return self._encoded[stride]


class EnergyHistory:
    """Energy over time in bounded memory: when it is full every second row goes, and it records half as often."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []
        self._every = 1
        self._seen = 0

    def record(self, step: int, time: float, energy: float) -> None:
        if self._seen % self._every == 0:
            self.rows.append((step, time, energy))
        self._seen += 1
        if len(self.rows) >= ENERGY_ROWS_MAX:
            del self.rows[1::2]
            self._every *= 2

    def latest(self, count: int) -> list[tuple[float, float]]:
        return [(round(time, 4), round(energy, 6)) for _, time, energy in self.rows[-count:]]


def write_results(folder: Path, summary: Mapping[str, object], history: EnergyHistory, field: Field) -> list[str]:
    """Write all files into `folder`, which is made when missing; their names."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("step", "time", "energy"))
    writer.writerows((step, f"{time:.6f}", f"{energy:.9g}") for step, time, energy in history.rows)
    array = io.BytesIO()
    np.save(array, field)
    files = {
        "energy.csv": table.getvalue().encode(),
        "field.npy": array.getvalue(),
        "final.png": picture(field, zoom=3),
        "summary.json": (json.dumps(summary, indent=2) + "\n").encode(),  # last: when it is there, all are
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        unfinished = folder / f".{name}.part"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / name)
    return sorted(files)


def picture(field: Field, zoom: int = 1) -> bytes:
    """The field as a PNG, each cell `zoom` pixels wide."""
    levels = companded(field, float(np.abs(field).max())).astype(np.int16) + 127
    anchors = np.linspace(0, 254, len(PICTURE_COLOURS))
    palette = np.stack(
        [np.interp(np.arange(255), anchors, channel) for channel in zip(*PICTURE_COLOURS, strict=True)], 1
    )
    pixels = palette.astype(np.uint8)[levels].repeat(zoom, axis=0).repeat(zoom, axis=1)
    return png(pixels)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An array of rows x columns x (red, green, blue) as a PNG file (ISO/IEC 15948)."""
    height, width, _ = pixels.shape
    unfiltered = np.zeros((height, 1 + width * 3), np.uint8)  # each row begins with its filter, 0: none
    unfiltered[:, 1:] = pixels.reshape(height, width * 3)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, colour type 2: RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def companded(field: Field, scale: float) -> NDArray[np.int8]:
    """The field as bytes from -127 to 127, small heights spread: height = scale * (byte / 127) * |byte / 127|.

    With plain proportion a faint wave beside a strong source would have three or four levels and look like terraces.
    """
    if scale <= 0:
        return np.zeros(field.shape, np.int8)
    ratio = np.clip(field / scale, -1, 1)
    levels: NDArray[np.int8] = np.rint(127 * np.sign(ratio) * np.sqrt(np.abs(ratio))).astype(np.int8)
    return levels
