"""Slow: a set of HipMRI's size, 11,460 training slices, is prepared and trained on in less than 4 GB."""

import os
import resource
import subprocess
import sys

import nibabel
import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
RECIPE = """
- task_name: prepare
  notebook: 12_prepare_slices
  source: hipmri
  data: data/hipmri
- task_name: train
  network_type: UNet2D
  data: data/hipmri
  network_settings: {base_filters: 4, depth: 3}
  batch_size: 32
  epochs: 1
  steps_per_epoch: null
"""


def test_memory_stays_below_4_gb_for_11460_slices(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 500, (256, 128)).astype(np.float32) for _ in range(8)]
    labels = [rng.integers(0, 6, (256, 128)).astype(np.uint8) for _ in range(8)]
    for split, patients in (("train", range(1, 192)), ("validate", range(201, 203)), ("test", range(211, 213))):
        for kind, prefix, arrays in (("", "case", images), ("seg_", "seg", labels)):
            folder = tmp_path / "hipmri" / f"keras_slices_{kind}{split}"
            folder.mkdir(parents=True)
            for patient in patients:
                for s in range(60):
                    image = nibabel.Nifti1Image(arrays[s % 8], np.eye(4))
                    nibabel.save(image, folder / f"{prefix}_{patient:03d}_week_0_slice_{s}.nii")
    assert len(os.listdir(tmp_path / "hipmri" / "keras_slices_train")) == 11_460
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    environment = os.environ | {"ECHOTRAIN_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, "-m", "lib", str(tmp_path / "recipe.yaml")]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak {peak / 2**30:.2f} GiB")
    assert peak < 4e9
