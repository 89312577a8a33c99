# %% [markdown]
# # Which way to answer with a trained network is the fastest that loses nothing?
#
# A network that was fine-tuned on CIFAR-10 answers by many techniques. Some leave its function as it is and compute it otherwise (memory layout,
# fused layers, a compiler, ONNX Runtime, OpenVINO), some round it (bf16, fp16, int8), some replace it by a network that it has taught (pruned,
# small and distilled). Each is timed in a process of its own that is kept alive, and they take turns: in every round each technique is
# asked once, in an order drawn anew, so that what else the machine does falls on all alike. A call takes images as they lie in memory and returns
# logits; copies between layouts are part of it. Seeds are fresh processes.
#
# What loses nothing is decided on held-out training images; accuracy and agreement with eager are reported on test images.

# %%
import pandas as pd

from analysis.core import blocks, report, speed, tell
from analysis.core.figures import speed as figures
from analysis.core.settings import by_seed, select

NAMES = {
    "eager": "eager", "allocator": "freed memory kept", "channels_last": "channels last", "fused": "channels last + conv-bn fused",
    "jit": "channels last + traced, frozen", "bf16": "bf16, fused", "compile": "torch.compile, frozen", "aot": "AOTInductor", "pruned": "pruned, fused",
    "small": "small distilled network", "onnx": "ONNX Runtime", "onnx_int8": "ONNX Runtime int8", "openvino": "OpenVINO fp32",
    "openvino_default": "OpenVINO default", "openvino_int8": "OpenVINO int8", "pruned_onnx": "pruned + ONNX Runtime",
    "pruned_onnx_int8": "pruned + ONNX Runtime int8", "fp16": "fp16, fused", "dynamic_int8": "PyTorch dynamic int8",
    "fx_int8": "PyTorch FX int8", "onnx_dynamic_int8": "ONNX Runtime dynamic int8", "onnx_cuda": "ONNX Runtime CUDA",
    "tensorrt": "TensorRT fp16",
}  # fmt: skip
PYTORCH, ORT, OV, OTHER = "PyTorch", "ONNX Runtime", "OpenVINO", "another network"
COLORS = {PYTORCH: "#0072B2", ORT: "#D55E00", OV: "#009E73", OTHER: "#CC79A7", "TensorRT": "#E69F00"}
FAMILIES = {"onnx": ORT, "open": OV, "prun": OTHER, "smal": OTHER, "tens": "TensorRT"}
LOST, SAME = 0.005, 0.99  # of the validation accuracy, what may be lost; of its answers, what must stay
run = report.open(
    "inference_speed", words={"batch_size": "batch of {}", "threads": lambda n: f"{n} thread{'s' * (n != 1)}"}
)
settings = run.settings(but=["technique"], first=["batch_size", "threads"])


def named(table):
    """The lines with what their technique is called, and its family."""
    known = table["technique"].str[:4].map(FAMILIES).fillna(PYTORCH)
    return table.assign(name=table["technique"].map(NAMES), family=known)


means = pd.concat([named(speed.summary(s.students)).assign(**s.axes) for s in settings if len(s.students)])
PANELS: dict = {"rows": ["threads"], "columns": ["batch_size"]}

# %% [markdown]
# ## Latency and accuracy
# Down is worse, right is slower. The line joins what nothing beats in both. Named are these, eager, and techniques whose accuracy is more than 0.3
# points from eager's; the figure below names all.


# %%
def fronted(part):
    """What nothing beats, and whose names are set: theirs, eager's, and those whose accuracy is another than eager's."""
    best = speed.frontier(part, "latency_ms", "test_accuracy")
    base = part.loc[part["technique"] == "eager", "test_accuracy"].max()
    return part.assign(
        best=best, told=best | (part["technique"] == "eager") | ((part["test_accuracy"] - base).abs() > 0.003)
    )


fronts = pd.concat([fronted(part) for _, part in means.groupby(["batch_size", "threads"])])
blocks.facets(
    run, fronts, lambda ax, panel: figures.pareto(panel.table, COLORS, ax), "Latency and accuracy of each technique", name="pareto",
    size=(8.6, 6.0), **PANELS,
)  # fmt: skip

# %% [markdown]
# ## How much faster
# Eager's median in a round over the technique's, the median over rounds; mean and interval over seeds, of logarithms. Below 1 a technique does not
# pay.

# %%
order = list(means.groupby("technique")["speedup"].median().sort_values(ascending=False).index)


def ranked(table):
    """The lines in the order of the techniques, the fastest first."""
    return table.sort_values("technique", key=lambda column: column.map(order.index), kind="stable")


blocks.facets(
    run, ranked(means), lambda ax, panel: figures.ratios(panel.table, COLORS, ax), "Times as fast as eager", name="speedups",
    size=(6.8, 0.26 * len(order) + 1.2), note="axis of powers of two", spread=True, **PANELS,
)  # fmt: skip

# %% [markdown]
# ## What adds up
# Each bar has all that stands to its left: eager's latency over the ratio of the figure above.

# %%
CHAIN = ["eager", "channels_last", "fused", "pruned", "pruned_onnx", "pruned_onnx_int8"]
ADDED = {"channels_last": "channels last", "fused": "conv-bn fused", "pruned": "pruned", "pruned_onnx": "ONNX Runtime", "pruned_onnx_int8": "int8"}  # fmt: skip
falls = [(part, speed.waterfall(part, CHAIN)) for _, part in means.groupby(["batch_size", "threads"])]
together = pd.concat([fall.assign(name=fall["technique"].map(ADDED).fillna("eager"), **dict(part[["batch_size", "threads"]].iloc[0])) for part, fall in falls])  # fmt: skip
if together["technique"].nunique() > 1:
    blocks.facets(
        run, together, lambda ax, panel: figures.steps(panel.table, ax), "Techniques added one after another", name="waterfall",
        size=(7.4, 4.4), **PANELS,
    )  # fmt: skip

# %% [markdown]
# ## What a call is made of
# Operators as each runtime's own profiler names them, put into kinds, of one seed; under a profiler everything takes longer. The tables have the operators of eager and of
# the fastest technique that keeps the answers. Techniques that are less than half as fast as eager are left out of the figure, lest the others be too
# short; calls that take seconds are not profiled.

# %%
operators = run.table("operators")
KEYS = ["batch_size", "threads", "technique"]
if len(operators):
    slow = means.loc[means["speedup"] < 0.5, KEYS].assign(slow=True)
    profiled = speed.profile(operators, KEYS).merge(slow, how="left", on=KEYS)
    shares = ranked(named(profiled[profiled["slow"].isna()]))
    blocks.facets(
        run, shares, lambda ax, panel: figures.operators(panel.table, ax), f"Operators of a call, profiled once, with seed {tell.span(operators['seed'])}", name="operators",
        size=(7.4, 0.26 * len(order) + 1.2), note="left out: what is less than half as fast as eager, or was not profiled", **PANELS,
    )  # fmt: skip

# %%
kept = {s: [t for t in speed.lossless(s.students, LOST, floor=SAME) if t in order] for s in settings if len(s.students)}
right = {s: speed.lossless(s.students, LOST) for s in kept}
safe, best = ({s: speed.fastest(s.students, names) for s, names in each.items() if names} for each in (kept, right))


def shown(setting, technique):
    """The operators of a technique in a setting, as a table to read."""
    part = select(operators, {**setting.axes, "technique": technique}).sort_values("ms", ascending=False)
    share = 100 * part["ms"] / part["ms"].sum()
    table = part.assign(calls=part["calls"].round(1), ms=part["ms"].round(3), share=share.round(1))
    run.show(
        table[["operator", "calls", "ms", "share"]],
        f"{NAMES[technique]}, {setting.title}: operators of a call, ms and per cent",
    )


if len(operators) and safe:
    for technique in dict.fromkeys(["eager", *list(safe.values())[:1]]):
        shown(next(iter(safe)), technique)

# %% [markdown]
# ## Traces
# Open them at ui.perfetto.dev, which shows every operator over time (nothing is sent anywhere); they lie beside the figures.

# %%
traces = run.table("traces")
largest = traces[traces["batch_size"] == traces["batch_size"].max()] if len(traces) else traces
for trace in largest.drop_duplicates("technique").to_dict("records"):
    run.attach(f"trace_{trace['technique']}", "json.gz", trace["trace"])

# %% [markdown]
# ## All numbers

# %%
COLUMNS = {
    "latency_ms": ("p50, ms", 2), "p95_ms": ("p95, ms", 2), "cpu_ms": ("processor, ms", 2), "images_per_second": ("images/s", 0), "memory_mib": ("peak memory, MiB", 0),
    "size_mb": ("size, MB", 1), "make_seconds": ("making, s", 0), "accuracy": ("test accuracy, %", 1), "agreement": ("same answers, %", 1),
    "max_difference": ("largest difference", 5),
}  # fmt: skip


def numbers(setting):
    """All numbers of a setting, the fastest technique first."""
    part = select(means, setting.axes).sort_values("latency_ms")
    shares = {"accuracy": 100 * part["test_accuracy"], "agreement": 100 * part["test_agreement"]}
    part = part.assign(size_mb=part["size_bytes"] / 1e6, **shares)
    written = {text: part[name].map(lambda v, d=digits: f"{v:.{d}f}") for name, (text, digits) in COLUMNS.items()}
    run.show(pd.DataFrame({"technique": part["name"], **written}), f"{tell.capital(setting.title)}: medians")


for setting in kept:
    numbers(setting)

# %% [markdown]
# ## What does not pay, and why
# The reasons are those that the operators above suggest; they were not tested one by one.

# %%
REASONS = {
    "fp16": "without instructions for it the processor converts every factor, or computes one by one",
    "bf16": "without instructions for it (AVX-512 BF16, AMX) every factor is converted",
    "dynamic_int8": "only linear layers are quantised, and a network of convolutions has one small one",
    "fx_int8": "its depthwise convolutions have no fast int8 kernel here, and one range for all channels of an activation loses small ones",
    "onnx_dynamic_int8": "every convolution measures the range of its input at each call, and its integer kernel is slow",
    "allocator": "pages of freed memory are no bottleneck here",
}  # fmt: skip


def loser(line):
    """What speaks against a technique in a setting, or nothing: slower than eager, or answers lost."""
    slow = [f"{line['speedup']:.2f} times as fast as eager"] * (
        (line["high"] if line["n"] > 1 else 2 * line["speedup"]) < 1
    )
    wrong = [f"{100 * line['test_agreement']:.0f} % of eager's answers"] * (
        line["test_agreement"] < 0.9 and line["family"] != OTHER
    )
    return ", ".join([*slow, *wrong])


judged = means.assign(against=means.apply(loser, axis=1))
bad = judged[judged["against"] != ""]
run.show(
    [
        {"technique": line["name"], "where": run.named({k: line[k] for k in ("batch_size", "threads")}), "what": line["against"],
         "likely because": REASONS.get(line["technique"], "")}
        for _, line in bad.iterrows()
    ],
    "Techniques that are told to be slower than eager, or lose over a tenth of its answers",
)  # fmt: skip

# %% [markdown]
# ## What came out
# Computed from the rows.


# %%
def times(setting, technique):
    """`3.2 times as fast as eager (3.0 to 3.5, n = 3; 4.1 ms instead of 13.2)`"""
    part = select(setting.students, {"technique": technique})
    eager = select(setting.students, {"technique": "eager"})["latency_ms"].median()
    said = tell.number(speed.ratio(part["speedup"]), 2, n=True)
    return f"{said} times as fast as eager, {part['latency_ms'].median():.3g} ms instead of {eager:.3g}"


def accuracy(setting, technique):
    one, base = (
        by_seed(select(setting.students, {"technique": t}), "test_accuracy").mean() for t in (technique, "eager")
    )
    same = by_seed(select(setting.students, {"technique": technique}), "test_agreement").mean()
    return f"{100 * one:.1f} % of test images right (eager {100 * base:.1f}), {100 * same:.1f} % answered as by eager"


def sentence(setting):
    """The fastest of those that lose no accuracy on validation, and of those that keep the answers."""
    first = best[setting]
    said = f"**{tell.capital(setting.title)}**: the fastest that loses no accuracy on validation is {NAMES[first]}: {times(setting, first)}; {accuracy(setting, first)}."
    if (second := safe.get(setting)) and second != first:
        said += f" Of those that keep {100 * SAME:.0f} % of the answers on validation: {NAMES[second]}, {times(setting, second)}."
    return said


# %%
def by_name(found):
    """`OpenVINO default (3 of 4 settings: 7.5 to 47 times as fast as eager PyTorch)`, of the fastest by setting."""
    times_of: dict[str, list[float]] = {}
    for setting, technique in found.items():
        ratio = speed.ratio(select(setting.students, {"technique": technique})["speedup"]).mean
        times_of.setdefault(NAMES[technique], []).append(float(f"{ratio:.2g}"))
    named_most = sorted(times_of.items(), key=lambda each: -len(each[1]))
    said = [f"{name} ({len(t)} of {tell.count(len(found), 'setting')}: {tell.span(t)} times)" for name, t in named_most]
    return " or ".join(said).replace(" times)", " times as fast as eager PyTorch)", 1)


# %%
def short(setting):
    """The fastest that loses no accuracy, in few words."""
    one = select(setting.students, {"technique": best[setting]})
    right_of = [100 * by_seed(select(setting.students, {"technique": t}), "test_accuracy").mean() for t in (best[setting], "eager")]
    ratio = tell.number(speed.ratio(one["speedup"]), 1, n=True)
    test = f"{right_of[0]:.1f} % of test images right (eager {right_of[1]:.1f})"
    return f"**{tell.capital(setting.title)}**: {NAMES[best[setting]]}, {ratio} times, {one['latency_ms'].median():.3g} ms; {test}."


def overall():
    """The fastest that loses nothing, over the settings: of accuracy, and of answers."""
    strict = f" Of those that keep {100 * SAME:.0f} % of eager's answers it is {by_name(safe)}." * bool(safe and safe != best)
    return f"**The fastest that loses at most {100 * LOST:g} points** of validation accuracy is {by_name(best)}.{strict}"


losers = [
    f"{NAMES[t]} ({'; '.join(dict.fromkeys(part['against']))})" for t, part in bad.groupby("technique", sort=False)
]
details = [*map(sentence, best), *[f"Does not pay: {tell.listing(losers, 8)}."] * bool(losers)]
exact = select(run.students, {"technique": "onnx"})
if len(exact):
    details.append(
        f"ONNX Runtime's logits in fp32 differ from PyTorch's by at most {exact['max_difference'].max():.1e}."
    )
images = run.info["axes"].get("test_size", [0])[0]
details.append(f"n counts seeds, which are fresh processes: they say how sure the times are. The networks are the same in all; their accuracies are shares of {images} test images.")  # fmt: skip
made = run.table("models").iloc[0]
details.append(
    f"The network: {made['network']} at {made['resolution']} pixels, {made['parameters']:,} parameters, from {made['weights']}; "
    f"fine-tuning took {made['seconds']:.0f} s once. The processor: {made['processor']}."
)
busy = run.students["busy_share"].median()
details.append(f"Other work took {100 * busy:.0f} % of the machine's cores while this was timed (median)" + ("." if busy < 0.1 else ": a busy machine. Ratios between techniques are better founded than milliseconds, and the processor's ms than the clock's."))  # fmt: skip
run.close([overall(), *map(short, best)] if best else [], details)
