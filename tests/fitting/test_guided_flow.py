from dataclasses import replace

from mfnet.fitting.guided_flow import by_network
from mfnet.head import HeadModel


def test_the_packaged_network_guides_its_own_head_and_no_other(head: HeadModel) -> None:
    assert by_network(head) is not None
    assert by_network(replace(head, template=head.template * 1.01)) is None
