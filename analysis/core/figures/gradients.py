"""What theory says of the gradients of distillation, drawn onto what was measured, over the probe temperature.

Hinton et al. 2015 (arXiv 1503.02531), equations 2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.core.figures.scales import dress, positions
from analysis.core.slopes import gaussian_slopes
from analysis.core.statistics import summarise

PROBE = "probe_temperature"
EXACT, LIMIT, SCALED = "log_formula_norm", "log_limit_norm", "log_scaled_norm"
DEVIATIONS = ["student_deviation", "teacher_deviation"]


def theory(
    table: pd.DataFrame, measure: str, knees: Mapping[str, float | None], colors: Mapping[str, str], ax: Axes
) -> None:
    """Of each stage (q - p)/T, computed from the logits, as crosses, and its limit dashed, both times T^2 where `measure` is SCALED;
    then the knee of each stage is ringed and named, too.

    table: `stage`, PROBE, `measure`, EXACT and LIMIT, decadic logarithms by seed. knees: T by stage, None where there is none. colors:
    of the stages.
    """
    for k, (stage, color) in enumerate(colors.items()):
        part, knee = table[table["stage"] == stage], knees[stage]
        exact, limit, line = (summarise(part, [PROBE], name) for name in (EXACT, LIMIT, measure))
        at, power = positions(line[PROBE], PROBE), (measure == SCALED) * 2 * np.log10(line[PROBE])
        ax.plot(at, exact[EXACT] + power, "x", color=color, markersize=6)
        ax.plot(at, limit[LIMIT] + power, "--", color=color, linewidth=1)
        if measure == SCALED and knee is not None:
            height, said = line.loc[line[PROBE] == knee, measure], f"knee, {stage}: T = {knee:g}"
            ax.plot(positions([knee], PROBE), height, "o", color=color, markersize=13, fillstyle="none")
            ax.text(0.98, 0.17 - 0.07 * k, said, transform=ax.transAxes, ha="right", color=color)
    ax.plot([], [], "kx", label="(q − p)/T, from the logits")
    ax.plot([], [], "k--", linewidth=1, label="its limit for large T, (z − v)/(N T²)")


def gaussian(deviations: pd.DataFrame, probes: np.ndarray, colors: Mapping[str, str], ax: Axes) -> None:
    """The slopes between neighbouring temperatures that Gaussian logits would show, and -2, that of the law: grey of some deviations, thin
    of those measured at each stage.

    deviations: `stage` and DEVIATIONS by seed. probes: the temperatures, ascending. colors: of the stages.
    """
    at, thin = positions(np.sqrt(probes[1:] * probes[:-1]), PROBE), {}
    for deviation, style in {2: ":", 5: "-.", 10: "--"}.items():
        grey: dict = {"color": "0.6", "linewidth": 1.2, "label": f"Gaussian logits, deviation {deviation}"}
        ax.plot(at, gaussian_slopes(deviation, deviation, probes), style, **grey)
    for stage, color in colors.items():
        student, teacher = deviations.loc[deviations["stage"] == stage, DEVIATIONS].mean()
        said = f"{stage}: deviation {student:.1f} (student), {teacher:.1f} (teacher)"
        (thin[said],) = ax.plot(at, gaussian_slopes(student, teacher, probes), color=color, linewidth=0.7)
    ax.legend(thin.values(), thin, fontsize=8, title="Gaussian logits as here", title_fontsize=8)
    ax.axhline(-2, color="black", linewidth=0.8)
    dress(ax.xaxis, probes, PROBE)
