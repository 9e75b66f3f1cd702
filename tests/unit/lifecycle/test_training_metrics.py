import math

import numpy as np
import pytest

from fastserve.lifecycle.metrics import calibration_error, measure


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated() -> None:
    confidence = np.full(10, 0.8)
    correct = np.arange(10) < 8
    assert calibration_error(confidence, correct) == pytest.approx(0.0)


def test_the_gap_of_each_bin_counts_by_its_share_of_the_rows() -> None:
    confidence = np.array([1.0, 1.0, 1.0, 0.5])
    correct = np.array([True, True, False, True])
    # three rows: right two times of three at 1.0; one row: right at 0.5
    assert calibration_error(confidence, correct) == pytest.approx((1.0 + 0.5) / 4)


def test_metrics_of_a_small_table_are_what_a_hand_computes() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    metrics = measure(probabilities, np.array([0, 1, 1]), ("a", "b"))
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert metrics.loss == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.8)) / 3)
    assert metrics.per_label == {"a": 1.0, "b": 0.5}
    assert metrics.to_json()["perLabel"] == {"a": 1.0, "b": 0.5}


def test_a_label_without_rows_has_no_accuracy() -> None:
    metrics = measure(np.array([[0.9, 0.1]]), np.array([0]), ("a", "b"))
    assert metrics.per_label == {"a": 1.0}


def test_a_right_class_of_probability_zero_costs_a_finite_loss() -> None:
    assert math.isfinite(measure(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b")).loss)
