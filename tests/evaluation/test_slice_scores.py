import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lib.evaluation import slice_scores

RNG = np.random.default_rng(0)


def test_a_slice_is_scored_in_the_range_of_the_whole_truth():
    truth = RNG.random((3, 16, 16)) + 1
    truth[2] *= 4
    volumes = {"output": truth + 0.1 * RNG.standard_normal(truth.shape), "reason": "not a grid", "truth": truth}
    of = slice_scores.reconstruction_scores(volumes)
    for i in range(3):
        (found,) = of(i).values()
        settings = {"data_range": truth.max(), "win_size": 7, "use_sample_covariance": True}
        assert found["SSIM"] == pytest.approx(
            structural_similarity(truth[i], volumes["output"][i], **settings), abs=1e-6
        )
        psnr = peak_signal_noise_ratio(truth[i], volumes["output"][i], data_range=truth.max())
        assert found["PSNR"] == pytest.approx(psnr, abs=1e-4)
        error = ((volumes["output"][i] - truth[i]) ** 2).sum() / (truth[i] ** 2).sum()
        assert found["NMSE"] == pytest.approx(error, rel=1e-5)
    assert slice_scores.reconstruction_scores({"output": truth}) is None
    holed = volumes | {"truth": np.where(np.arange(3)[:, None, None] == 0, np.nan, truth)}
    of = slice_scores.reconstruction_scores(holed)
    assert np.isnan(of(0)["output"]["SSIM"]) and of(2)["output"]["SSIM"] == pytest.approx(found["SSIM"])


def test_what_cannot_be_scored_is_nan():
    truth = np.ones((2, 16, 16))
    truth[1] = 0
    output = truth.copy()
    output[0, 3, 3] = np.nan
    of = slice_scores.reconstruction_scores({"output": output, "truth": truth})
    assert all(np.isnan(v) for v in of(0)["output"].values())
    endless = np.where(np.isnan(output), np.inf, output)
    assert all(
        np.isnan(v)
        for v in slice_scores.reconstruction_scores({"output": endless, "truth": truth})(0)["output"].values()
    )
    assert np.isnan(of(1)["output"]["NMSE"]) and of(1)["output"]["SSIM"] == pytest.approx(1)


def test_dice_of_a_slice_by_hand():
    truth, prediction = np.zeros((2, 4, 4), int), np.zeros((2, 4, 4), int)
    truth[0, 0], prediction[0, 0, :2], prediction[0, 3, 3] = 1, 1, 1  # 4 and 3 pixels, 2 in common
    of = slice_scores.segmentation_scores({"net": prediction}, truth, ["none", "liver", "spleen"])
    found = of(0)["net"]
    assert found["mean Dice"] == found["Dice liver"] == pytest.approx(4 / 7) and np.isnan(found["Dice spleen"])
    assert np.isnan(of(1)["net"]["mean Dice"])
    assert slice_scores.ranked(of, 2, "net", "mean Dice") == [0]
    assert (
        slice_scores.segmentation_scores({"net": prediction[:1]}, truth, ["none", "liver", "spleen"])(1) == {}
    )  # another grid


def test_ranks_begin_with_the_worst():
    values = {"SSIM": [0.5, 0.9, np.nan, 0.1], "NMSE": [0.5, 0.9, np.nan, 0.1]}
    of = lambda i: {"a": {name: v[i] for name, v in values.items()}}  # noqa: E731
    assert slice_scores.ranked(of, 4, "a", "SSIM") == [3, 0, 1]
    assert slice_scores.ranked(of, 4, "a", "NMSE") == [1, 0, 3]
