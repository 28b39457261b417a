"""The page that a stranger sees first."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from mfnet.app.demo import SUBJECTS, write_demo
from mfnet.reconstruct import reconstructor
from mfnet.reconstruct.packaged_detector import PackagedDetector

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        # face-alignment's weights would be fetched, where that is possible.
        patch.setattr(reconstructor, "best_detector", PackagedDetector)
        return write_demo(tmp_path_factory.mktemp("demo"))


def test_the_page_holds_all_it_shows(page: Path) -> None:
    content = page.read_text()
    pictures = re.findall(r"<img src='([^']{30})", content)
    assert len(pictures) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert content.count("<canvas") == len(SUBJECTS)
    assert not re.search(r"""(src|href)=["']?https?:""", content)
    stored = json.loads(re.findall(r"id='heads'>(.*?)</script>", content)[0])
    for head, subject in zip(stored["heads"], SUBJECTS, strict=True):
        assert base64.b64decode(head["glb"]) == (page.parent / subject.name / "mesh.glb").read_bytes()


def test_the_heads_have_the_size_of_heads_and_stand_upright(page: Path) -> None:
    for subject in SUBJECTS:
        mesh = trimesh.load(page.parent / subject.name / "mesh.glb", force="mesh")
        width, height, depth = mesh.extents
        assert 0.13 < width < 0.22
        assert 0.2 < height < 0.35
        assert 0.15 < depth < 0.28
        assert mesh.visual.material.metallicFactor == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_draws_skin(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    size, drawn = "1240,1150", ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", *drawn, f"--window-size={size}", "--virtual-time-budget=20000",
         "--hide-scrollbars", f"--screenshot={picture}", page.as_uri()],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    # Right of the photographs there is the first head, and nothing else.
    canvas = np.asarray(Image.open(picture).convert("RGB")).astype(float)[150:520, 700:1200]
    skin = (canvas[..., 0] > canvas[..., 2] + 25) & (canvas.max(-1) > 120)
    assert skin.mean() > 0.04
