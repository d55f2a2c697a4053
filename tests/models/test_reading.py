"""Networks that read: what goes in, what comes out, and that each part of an answer looks at its own part."""

import pytest
import torch
import torch.nn.functional as F

from tenfold.models.reading import LineNet, PageNet, doubled


@pytest.fixture
def lines() -> LineNet:
    """Return a small network of rows, in evaluation mode."""
    torch.manual_seed(0)
    return LineNet([8, 8, 8], context=16).eval()


@pytest.fixture
def page() -> PageNet:
    """Return a small network of pages, in evaluation mode."""
    torch.manual_seed(0)
    return PageNet([4, 8, 8, 8]).eval()


@pytest.mark.parametrize("width", [4, 12, 32, 320])
def test_a_row_has_eleven_logits_a_four_columns(lines: LineNet, width: int) -> None:
    """(B, 1, 32, W) gives (B, W / 4, 11)."""
    assert lines(torch.zeros(3, 1, 32, width)).shape == (3, width // 4, 11)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 96), (256, 256)])
def test_a_page_has_thirteen_values_a_place(page: PageNet, height: int, width: int) -> None:
    """(B, 1, H, W) gives (B, 13, H / 4, W / 4)."""
    assert page(torch.zeros(2, 1, height, width)).shape == (2, 13, height // 4, width // 4)


@torch.no_grad()
def test_what_is_far_away_changes_nothing(lines: LineNet, page: PageNet) -> None:
    """A changed column changes the answer there, and none at the row's other end; so it is with a page's corners."""
    for network, side, axis in ((lines, (32, 320), 1), (page, (512, 512), 3)):
        torch.manual_seed(1)
        picture = torch.rand(1, 1, *side)
        changed = picture.clone()
        changed[..., -8:] += 1
        moved = (network(changed) - network(picture)).abs()
        moved = moved.amax([each for each in range(moved.ndim) if each != axis])
        assert moved[-2:].max() > 1e-4
        assert moved[: len(moved) // 8].max() == 0


@torch.no_grad()
def test_pictures_of_a_batch_do_not_meet(lines: LineNet, page: PageNet) -> None:
    """In evaluation each picture is answered as alone, and twice the same: there is no dropout left."""
    torch.manual_seed(1)
    for network in (lines, page):
        batch = torch.rand(3, 1, 32, 64)
        together = network(batch)
        assert torch.allclose(together[1:2], network(batch[1:2]), atol=1e-5)
        assert torch.equal(together, network(batch))


@pytest.mark.parametrize("kind", ["lines", "page"])
def test_every_weight_is_used(kind: str, request: pytest.FixtureRequest) -> None:
    """Each weight has a gradient that is not all 0."""
    network = request.getfixturevalue(kind).train()
    torch.manual_seed(1)
    network(torch.rand(4, 1, 32, 64)).pow(2).sum().backward()
    assert [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()] == []


def test_doubled_is_the_nearest_neighbour() -> None:
    """Doubling is what torch's own nearest interpolation gives."""
    x = torch.rand(2, 3, 5, 7)
    assert torch.equal(doubled(x), F.interpolate(x, scale_factor=2, mode="nearest"))
