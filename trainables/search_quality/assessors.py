"""Placeholder of the skeleton: the methods that repair labels are written on branch `labels`."""

METHODS = ("majority", "dawid_skene", "glad", "gold", "adaptive", "pairwise")
COLUMNS = (
    "val_accuracy",
    "test_accuracy",
    "test_ndcg_error",
    "test_grade_error",
    "test_order_accuracy",
    "test_alpha",
    "labels_spent",
)


def evaluate(methods, budget, bad_share, worlds, seed):
    raise ValueError("labels: not written yet")
