"""Sets and networks of the other kind are refused by name."""

import pytest
from refusals import refused

from lib import InputError
from lib.evaluation.reconstruction import check_kind
from lib.models import build


def test_a_set_or_network_of_the_other_kind_is_refused():
    varnet = build("VarNet", num_cascades=1, chans=2, pools=1, sens_chans=2, sens_pools=1)
    check_kind({"VarNet": varnet}, "measured k-space", cine=False)
    for networks, kind, cine, hint in (
        ({}, "cine", False, "31_evaluate_cine"), ({}, "measured k-space", True, "30_evaluate_kspace"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            check_kind(networks, kind, cine)
        assert error.value.where == "data" and hint in error.value.hint
    with refused(found="VarNet is a network for k-space"):
        check_kind({"VarNet": varnet}, "cine", cine=True)
