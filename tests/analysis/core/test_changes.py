import pandas as pd

from analysis.core import tell

TABLE = pd.DataFrame(
    [
        {"labels": labels, "network": network, "rounds": rounds, "seed": seed, "test_accuracy": 0.5 + gain * (rounds > 1) + 0.01 * seed}
        for labels, gain in ((500, 0.1), (100, -0.05))
        for network in ("cnn", "mlp")
        for rounds in ((1, 3) if (labels, network) != (100, "mlp") else (1,))
        for seed in range(3)
    ]
)  # fmt: skip


def name(cell):
    return f"{cell['network']} with {cell['labels']}"


def test_what_an_axis_changes_is_said_for_each_combination_that_has_both():
    said = tell.changes(TABLE, "rounds", 1, 3, ["labels", "network"], "test_accuracy", name)
    gain, loss = "+10.0 points (+10.0 to +10.0)", "-5.0 points (-5.0 to -5.0)"
    assert [(line["at"], line["difference"]) for line in said] == [
        ("cnn with 500", gain),
        ("mlp with 500", gain),
        ("cnn with 100", loss),
    ]
    assert {line["change"] for line in said} == {"rounds, 3 against 1"}


def test_an_axis_of_one_value_changes_nothing():
    assert tell.changes(TABLE, "rounds", 1, 1, ["labels", "network"], "test_accuracy", name) == []
    assert tell.changes(TABLE, "rounds", 3, 5, ["labels", "network"], "test_accuracy", name) == []
