"""The left ventricle of real patients: which frames and labels are taken, by whom it is tested, what stays unlabeled."""

import nibabel
import numpy as np
import pytest
from PIL import Image
from refusals import refused
from scipy import ndimage

from lib.data import hipmri, lgg
from lib.data.case_files import CaseSlices, split_cases
from lib.data.index import read_set
from lib.phantoms import pairs, ventricle
from lib.phantoms.sample_scans import FOLDER


@pytest.mark.parametrize("patient", ventricle.PATIENTS)
def test_the_two_labeled_frames_are_taken_and_no_other(patient):
    image, label = (np.asarray(nibabel.load(FOLDER / f"{n}.nii.gz").dataobj) for n in (patient, f"{patient}_label"))
    frames = [t for t in range(label.shape[3]) if (label[..., t] != 255).any()]
    found = ventricle.phases(patient)
    for (shown, labeled), t in zip(
        found.values(), sorted(frames, key=lambda t: -(label[..., t] == 1).sum()), strict=True
    ):
        assert (labeled.volume != 255).all()  # every slice of it is labeled
        for c in (1, 2):
            assert (labeled.volume == c).sum() == (label[..., t] == c).sum()
        inside = labeled.volume == 1
        assert shown.volume[inside].sum() == image[..., t][label[..., t] == 1].sum()  # each pixel in its place
    cavities = [(labeled.volume == 1).sum() for _, labeled in found.values()]
    assert list(found) == ["diastole", "systole"] and cavities[0] > cavities[1]


def test_pairs_are_split_by_patient_and_masks_are_the_cavity(tmp_path):
    about = pairs.write("ventricle", tmp_path / "in", quick=True)
    lgg.prepare(tmp_path / "in", tmp_path / "out", (40, 40), **about)
    content = read_set(tmp_path / "out")
    assert content["persons"] == {
        "train": [f"heart_sax_{n}" for n in (1, 2, 3)],
        "val": ["heart_sax_4"],
        "test": ["heart_sax_5"],
    }
    assert content["counts"] == {"train": 12, "val": 4, "test": 4} and content["classes"] == ["background", "cavity"]
    mask = np.asarray(Image.open(tmp_path / "in" / "heart_sax_2" / "heart_sax_2_diastole_1_mask.tif")) > 0
    label = np.asarray(nibabel.load(FOLDER / "heart_sax_2_label.nii.gz").dataobj)
    assert mask.sum() == (label[:, :, 0] == 1).sum((0, 1)).max()
    with refused(where="sample 'ventricel'", found="did you mean 'ventricle'", expected="ventricle, lesions"):
        pairs.write("ventricel", tmp_path / "no")


def test_where_no_wall_is_labeled_what_is_near_the_cavity_is_unlabeled(tmp_path):
    about = ventricle.write_slices(tmp_path / "in", quick=True)
    hipmri.prepare(tmp_path / "in", tmp_path / "out", real_ids=True, **about)
    content = read_set(tmp_path / "out")
    assert content["persons"] == {"train": ["001", "002", "005"], "val": ["003"], "test": ["004"]}
    assert content["counts"] == {"train": 12, "val": 2, "test": 2} and content["ignore_index"] == 255
    for split in ("train", "val", "test"):
        for case in split_cases(tmp_path / "out", split):
            full = case.id.endswith("week_0") and case.person != "005"
            for s in range(case.slices):
                label = CaseSlices([case]).case(s).label.numpy()
                assert ((label == 2).any(), (label == 255).any()) == (full, not full)
                away = ndimage.distance_transform_edt(label != 1, sampling=case.spacing[1:])
                assert full or (away[label == 255].max() <= 20 < away[label == 0].min())
                assert away[label == 2].max(initial=0) < 20  # no wall is as thick as that
