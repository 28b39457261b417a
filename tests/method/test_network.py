import pytest
import torch

from mfnet.head import Directions, Flame, HeadModel
from mfnet.method.network import MFNet, Parameters, RoleFusion, decode, in_front_of, mean_parameters
from mfnet.render.camera import Lens


@pytest.fixture
def directions() -> Directions:
    return Directions(4, 3, 2)


def drawn(directions: Directions, people: int = 2, views: int = 3) -> Parameters:
    return Parameters(*(part + 0.2 * torch.randn_like(part) for part in mean_parameters(people, views, directions)))


def test_the_order_of_the_side_views_does_not_matter(directions: Directions) -> None:
    network = MFNet("compact", 16, directions).eval()
    images = torch.rand(2, 3, 3, 128, 128)
    with torch.no_grad():
        first, turned = network(images), network(images[:, [0, 2, 1]])
    for name in ("shape", "expression", "jaw"):
        torch.testing.assert_close(getattr(first, name), getattr(turned, name))
    for name in ("rotation", "camera", "albedo", "light"):
        torch.testing.assert_close(getattr(first, name)[:, [0, 2, 1]], getattr(turned, name))


def test_roles_that_single_out_a_view_each_give_the_papers_concatenation() -> None:
    fusion = RoleFusion(3)
    with torch.no_grad():
        fusion.roles.copy_(100 * torch.eye(3))
    front, left, right = torch.eye(3) + 0.1
    features = torch.stack([left, front, right])[None]
    torch.testing.assert_close(fusion(features), torch.cat([front, left, right])[None])
    torch.testing.assert_close(fusion(features[:, :1]), left.repeat(3)[None])


def test_views_that_tell_nothing_might_as_well_not_be_there(directions: Directions) -> None:
    network = MFNet("compact", 16, directions).eval()
    images = torch.rand(2, 3, 3, 128, 128)
    telling = torch.tensor([[True, False, True], [False, True, True]])
    with torch.no_grad():
        some, every = network(images, telling), network(images)
        for person, kept in enumerate(telling):
            fewer = network(images[person : person + 1, kept])
            for name in ("shape", "expression", "jaw"):
                torch.testing.assert_close(getattr(some, name)[person], getattr(fewer, name)[0])
    for name in ("rotation", "camera", "albedo", "light"):
        torch.testing.assert_close(getattr(some, name), getattr(every, name))


def test_the_crop_of_a_head_beside_the_axis_looks_as_if_it_were_on_it(head: HeadModel, directions: Directions) -> None:
    """The network sees the same crop wherever in the photograph it lies; what it says must come out the same there."""
    flame, parameters = Flame(head, 4, 3), drawn(directions, 1, 1)
    parameters = parameters._replace(camera=torch.zeros_like(parameters.camera))
    middle = Lens(torch.tensor([40.0]), torch.zeros(1, 2))
    beside = Lens(torch.tensor([40.0]), torch.tensor([[-6.0, 4.5]]))
    straight = decode(flame, parameters, lens=middle).landmarks[..., :2]

    def missed(parameters: Parameters) -> torch.Tensor:
        seen_beside = decode(flame, parameters, lens=beside).landmarks[..., :2]
        return (seen_beside - straight).norm(dim=-1).mean()

    # Off the axis a plane also stretches what it shows; that is of second order.
    assert missed(in_front_of(parameters, beside)) < missed(parameters) / 3
    assert in_front_of(parameters, None) is parameters


def test_the_views_share_one_head(head: HeadModel, directions: Directions) -> None:
    flame, parameters = Flame(head, 4, 3), drawn(directions)
    still = parameters._replace(rotation=torch.zeros_like(parameters.rotation))
    vertices = decode(flame, still).vertices.unflatten(0, (2, 3))
    torch.testing.assert_close(vertices, vertices[:, :1].expand_as(vertices))
    assert (vertices[0, 0] - vertices[1, 0]).norm(dim=-1).max() > 1e-4


def test_the_camera_says_where_the_landmarks_mean_is(head: HeadModel, directions: Directions) -> None:
    parameters = drawn(directions)
    landmarks = decode(Flame(head, 4, 3), parameters).landmarks[..., :2].mean(1)
    torch.testing.assert_close(landmarks, parameters.camera.flatten(0, 1)[:, 1:], atol=1e-5, rtol=0)


def test_in_front_of_a_lens_the_landmarks_mean_stays_and_the_near_grows(
    head: HeadModel, directions: Directions
) -> None:
    flame, parameters = Flame(head, 4, 3), drawn(directions, 1, 2)
    lens = Lens(torch.tensor([20.0, 4.0]), torch.tensor([[0.1, 0.0], [-0.2, 0.1]]))
    flat, deep = decode(flame, parameters), decode(flame, parameters, lens=lens)
    torch.testing.assert_close(deep.camera, flat.camera)
    anchor = deep.landmarks.mean(1)
    torch.testing.assert_close(anchor[:, 2], torch.zeros(2), atol=1e-5, rtol=0)
    assert (anchor[:, :2] - flat.landmarks.mean(1)[:, :2]).abs().max() < 0.03
    place = parameters.camera.flatten(0, 1)[:, None, 1:]
    depth = deep.projected[..., 2:]
    grown = lens.focal[:, None, None] / (lens.focal[:, None, None] + depth)
    expected = place + (flat.projected[..., :2] - place) * grown + (place - lens.principal[:, None]) * (grown - 1)
    torch.testing.assert_close(deep.projected[..., :2], expected, atol=1e-5, rtol=0)


def test_some_views_are_decoded_as_among_all(head: HeadModel, directions: Directions) -> None:
    flame, parameters = Flame(head, 4, 3), drawn(directions)
    some_views = torch.tensor([4, 0])
    for some, every in zip(decode(flame, parameters, some_views), decode(flame, parameters), strict=True):
        torch.testing.assert_close(some, every[some_views])


def test_gradients_agree_with_finite_differences(head: HeadModel, directions: Directions) -> None:
    flame = Flame(head, 4, 3, landmarks_only=True).double()
    inputs = tuple(part.double().requires_grad_() for part in drawn(directions, 1, 2)[:5])
    rest = [part.double() for part in drawn(directions, 1, 2)[5:]]
    draw = torch.Generator().manual_seed(1)

    def probed(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """A few weighted sums of each output, so that the Jacobian is small enough to check entry by entry."""
        outputs = decode(flame, Parameters(*given, *rest))
        weights = [torch.randn(4, part.numel(), generator=draw.manual_seed(1)).double() for part in outputs]
        return tuple(weight @ part.flatten() for weight, part in zip(weights, outputs, strict=True))

    assert torch.autograd.gradcheck(probed, inputs, atol=1e-6)
